//! The server's plan, from its configuration and this host's cores.

use crate::config::Config;
use crate::io::plan::{self, CorePlan, PlanError};
use crate::io::tune::TuneError;
use crate::io::tune::root::Root;
use crate::io::{preflight, runtime};
use crate::tune::facts::Nic;
use crate::tune::plan::Seat;
use crate::tune::{HostFacts, ServerPlan};

/// The plan that the server will make of `config` on this host; `notes` get what is wrong with it.
///
/// # Errors
/// There is no plan.
pub(super) fn plan(
    config: &Config,
    root: &Root,
    facts: &HostFacts,
    notes: &mut Vec<String>,
) -> Result<ServerPlan, TuneError> {
    let allowed = match root.is_host() {
        true => preflight::cores()?,
        false => facts.online.clone(),
    };
    let wishes = runtime::wishes(config, 1);
    let planned = match plan::plan(&wishes, &allowed) {
        // Isolated cores are in nobody's mask; the server is started with a mask of its own.
        Err(PlanError::NoSuchCore { key, core, .. }) if facts.online.contains(&core) => {
            notes.push(format!(
                "{key} names core {core}, which this process may not use: start the server with CPUAffinity= of its cores"
            ));
            plan::plan(&wishes, &facts.online)?
        }
        other => other?,
    };
    notes.extend(planned.warnings.iter().cloned());
    Ok(with_ports(config, &planned))
}

fn with_ports(config: &Config, planned: &CorePlan) -> ServerPlan {
    let media = &config.media;
    let shards = planned.shards.iter().zip(0_u16..);
    ServerPlan {
        shards: shards
            .map(|(&core, index)| Seat {
                core,
                udp_port: match media.udp_port {
                    0 => None,
                    base => base.checked_add(index),
                },
            })
            .collect(),
        signalling: planned.signalling,
        socket_buffer_bytes: media.socket_buffer_bytes,
        // `::` takes both.
        ipv4: media.bind.is_ipv4() || media.bind.is_unspecified(),
        ipv6: media.bind.is_ipv6(),
        sessions: config.limits.sessions,
    }
}

/// The card, for people.
pub(super) fn nic_text(nic: &Nic) -> String {
    format!(
        "{} (driver {}, {} receive and {} transmit queues, {} interrupts of queues)",
        nic.name,
        nic.driver.as_deref().unwrap_or("unknown"),
        nic.rx_queues.len(),
        nic.tx_queues.len(),
        nic.irqs.len(),
    )
}

/// The plan, for people.
pub(super) fn plan_text(plan: &ServerPlan) -> String {
    let shards = plan.shards.iter().map(|seat| match seat.udp_port {
        Some(port) => format!("core {} with UDP port {port}", seat.core),
        None => format!("core {} with any free UDP port", seat.core),
    });
    format!(
        "signalling on core {}; shards on {}",
        plan.signalling,
        shards.collect::<Vec<_>>().join(", "),
    )
}
