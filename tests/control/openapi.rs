//! The description of the API that the server serves is whole, and says what the server does.

use serde_json::Value;

use crate::server::Server;

fn refs<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if key == "$ref" => out.push(text),
                    _ => refs(value, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| refs(v, out)),
        _ => {}
    }
}

#[tokio::test]
async fn the_description_is_whole_and_every_path_in_it_is_served() {
    let server = Server::start("openapi", "");
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("client");
    let text = |path: &str| {
        let request = http.get(server.url(path)).send();
        async {
            request
                .await
                .expect("an answer")
                .text()
                .await
                .expect("a body")
        }
    };
    let body = text("/v1/openapi.json").await;
    let api: Value = serde_json::from_str(&body).expect("JSON");
    assert!(
        api["openapi"]
            .as_str()
            .expect("a version")
            .starts_with("3.1")
    );
    let _parsed: utoipa::openapi::OpenApi = serde_json::from_str(&body).expect("OpenAPI");
    let mut found = Vec::new();
    refs(&api, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(api.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let paths = api["paths"].as_object().expect("paths");
    assert!(paths.len() >= 9, "{:?}", paths.keys());
    for (path, methods) in paths {
        let path = path
            .replace("{room}", "r")
            .replace("{member}", "m")
            .replace("{endpoint}", "e");
        for method in methods.as_object().expect("methods").keys() {
            let method: reqwest::Method = method.to_uppercase().parse().expect("a method");
            let request = http.request(method.clone(), server.url(&path));
            let request = request.bearer_auth(crate::server::KEY).body("{}");
            let status = request.send().await.expect("an answer").status();
            assert!(
                status != 405 && (status != 404 || path.contains("/r")),
                "{method} {path}: {status}"
            );
        }
    }
    let page = text("/v1/docs").await;
    for code in colchis::control::error::ErrorCode::ALL {
        let id = format!("id=\"{}\"", code.text());
        assert!(
            page.contains(&id),
            "the page has no section {}",
            code.text()
        );
    }
}
