//! What is the same in all conversations with Janus: session and handle, requests, and how answers are read.

use serde_json::{Value, json};

use crate::load::describe::DescribeError;

/// The plugin.
pub(super) const PLUGIN: &str = "janus.plugin.videoroom";

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JanusError {
    /// A message without something it should have.
    #[error("Janus: {0} is missing or of a wrong kind")]
    Message(&'static str),
    /// A request was refused.
    #[error("Janus: {reason} (error {code})")]
    Refused {
        /// Number of the error.
        code: u64,
        /// What Janus says.
        reason: String,
    },
    /// The connection, the handle or the session is gone.
    #[error("Janus: {what}: {reason}")]
    Over {
        /// What has ended it.
        what: String,
        /// Why, if Janus says so.
        reason: String,
    },
    /// A description.
    #[error(transparent)]
    Describe(#[from] DescribeError),
}

/// What all requests have: session, handle, transaction.
#[derive(Debug, Default)]
pub(super) struct Link {
    session: Option<u64>,
    handle: Option<u64>,
    transactions: u64,
}

impl Link {
    /// A request of the session, or of the handle.
    pub fn request(&mut self, kind: &str) -> Value {
        self.transactions += 1;
        let mut request = json!({"janus": kind, "transaction": self.transactions.to_string()});
        if let Some(session) = self.session {
            request["session_id"] = session.into();
        }
        if let Some(handle) = self.handle.filter(|_| kind != "keepalive") {
            request["handle_id"] = handle.into();
        }
        request
    }

    /// A request of the plugin.
    pub fn message(&mut self, body: Value) -> Value {
        let mut request = self.request("message");
        request["body"] = body;
        request
    }

    /// A message with a description, and the word that there are no candidates to come: Janus learns ours from our checks.
    pub fn describe(&mut self, body: Value, kind: &str, sdp: &str) -> Vec<Value> {
        let mut message = self.message(body);
        message["jsep"] = json!({"type": kind, "sdp": sdp});
        let mut trickle = self.request("trickle");
        trickle["candidate"] = json!({"completed": true});
        vec![message, trickle]
    }

    /// Takes the id of the session, then that of the handle. What is to be asked next, unless both are there.
    pub fn open(&mut self, answer: &Value) -> Result<Option<Value>, JanusError> {
        let id = answer["data"]["id"].as_u64();
        let id = id.ok_or(JanusError::Message("the id of a session or handle"))?;
        if self.session.is_some() {
            self.handle = Some(id);
            return Ok(None);
        }
        self.session = Some(id);
        let mut attach = self.request("attach");
        attach["plugin"] = PLUGIN.into();
        Ok(Some(attach))
    }
}

/// What a message is.
pub(super) enum Said<'a> {
    /// A session or a handle has come about.
    Opened,
    /// The plugin speaks.
    Plugin(&'a Value),
    /// Nothing of interest: acknowledgements, the state of the connection.
    Nothing,
}

/// What a message says to whoever gets it.
///
/// # Errors
/// What it says has failed or ended.
pub(super) fn read(message: &Value) -> Result<Said<'_>, JanusError> {
    let refused = |code: &Value, reason: &Value| JanusError::Refused {
        code: code.as_u64().unwrap_or(0),
        reason: reason.as_str().unwrap_or("no reason").to_owned(),
    };
    let over = |what: &Value, reason: &Value| JanusError::Over {
        what: what.as_str().unwrap_or_default().to_owned(),
        reason: reason.as_str().unwrap_or("no reason").to_owned(),
    };
    match message["janus"].as_str().unwrap_or_default() {
        "error" => {
            let error = &message["error"];
            Err(refused(&error["code"], &error["reason"]))
        }
        "hangup" | "detached" | "timeout" => Err(over(&message["janus"], &message["reason"])),
        "success" if message["plugindata"].is_null() => Ok(Said::Opened),
        "success" | "event" => {
            let data = &message["plugindata"]["data"];
            if !data["error_code"].is_null() {
                return Err(refused(&data["error_code"], &data["error"]));
            }
            // Only rooms that are removed answer so to whoever asked for it: they have a transaction.
            if data["videoroom"] == "destroyed" && message["transaction"].is_null() {
                return Err(over(&"the room was removed".into(), &Value::Null));
            }
            Ok(Said::Plugin(data))
        }
        _ => Ok(Said::Nothing),
    }
}
