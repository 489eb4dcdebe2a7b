//! Which role runs on which core, and what is wrong with that.
//!
//! Pure: cores and wishes in, plan and warnings out.

/// Cores wished for; `None` means "choose".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoreWishes {
    /// Core of the signalling executor.
    pub signalling: Option<usize>,
    /// Cores of the shards, one shard each.
    pub shards: Option<Vec<usize>>,
    /// Core of the control thread.
    pub control: Option<usize>,
    /// Shards at least, when they are not listed: more than there are cores share cores.
    pub shards_min: usize,
}

/// Who runs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorePlan {
    /// Core of the signalling executor.
    pub signalling: usize,
    /// Core of each shard.
    pub shards: Vec<usize>,
    /// Core of the control thread, `None`: wherever the kernel likes among the rest.
    pub control: Option<usize>,
    /// What an operator should know, each with its cure.
    pub warnings: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A wished core is not there, or not allowed by the affinity mask.
    #[error(
        "{key} = {core}: no such core for this process; it may use {available:?} (see `taskset -cp $$` or the cgroup's cpuset)"
    )]
    NoSuchCore {
        /// Configuration key.
        key: &'static str,
        /// Its value.
        core: usize,
        /// Cores this process may use.
        available: Vec<usize>,
    },
    /// The same core was given to two shards.
    #[error("cores.shards lists core {core} twice; give each shard a core of its own")]
    DoubleShard {
        /// The core.
        core: usize,
    },
    /// No shard at all.
    #[error("cores.shards is empty; list at least one core, or \"auto\"")]
    NoShards,
}

/// Places the roles on `available` cores (ascending, as the affinity mask says).
pub fn plan(wishes: &CoreWishes, available: &[usize]) -> Result<CorePlan, PlanError> {
    check(wishes, available)?;
    let first = available.first().copied().unwrap_or(0);
    let signalling = wishes.signalling.unwrap_or_else(|| {
        let taken = wishes.shards.as_deref().unwrap_or_default();
        let free = available.iter().copied().find(|c| !taken.contains(c));
        free.unwrap_or(first)
    });
    let shards = match &wishes.shards {
        Some(list) => list.clone(),
        None => auto_shards(signalling, wishes.shards_min, available),
    };
    let mut plan = CorePlan {
        signalling,
        shards,
        control: wishes.control,
        warnings: Vec::new(),
    };
    plan.warnings = warnings(&plan, available);
    Ok(plan)
}

fn check(wishes: &CoreWishes, available: &[usize]) -> Result<(), PlanError> {
    let known = |key, core| match available.contains(&core) {
        true => Ok(()),
        false => Err(PlanError::NoSuchCore {
            key,
            core,
            available: available.to_vec(),
        }),
    };
    if let Some(core) = wishes.signalling {
        known("cores.signalling", core)?;
    }
    if let Some(core) = wishes.control {
        known("cores.control", core)?;
    }
    let Some(shards) = &wishes.shards else {
        return Ok(());
    };
    if shards.is_empty() {
        return Err(PlanError::NoShards);
    }
    for (i, &core) in shards.iter().enumerate() {
        known("cores.shards", core)?;
        if shards[..i].contains(&core) {
            return Err(PlanError::DoubleShard { core });
        }
    }
    Ok(())
}

/// Every core but the signalling one, and at least `min` shards: on a small host they share cores.
fn auto_shards(signalling: usize, min: usize, available: &[usize]) -> Vec<usize> {
    let mut cores: Vec<usize> = available
        .iter()
        .copied()
        .filter(|&c| c != signalling)
        .collect();
    if cores.is_empty() {
        cores.push(signalling);
    }
    let own = cores.len();
    let sharing = cores.clone().into_iter().chain([signalling]).cycle();
    for core in sharing.skip(own).take(min.max(1).saturating_sub(own)) {
        cores.push(core);
    }
    cores
}

fn warnings(plan: &CorePlan, available: &[usize]) -> Vec<String> {
    let mut out = Vec::new();
    if plan.shards.contains(&plan.signalling) {
        out.push(format!(
            "signalling shares core {} with a shard: joins and media delay each other; cure: a host with at least {} cores, or fewer shards in `cores.shards`",
            plan.signalling,
            plan.shards.len() + 1
        ));
    }
    let mut sorted = plan.shards.clone();
    sorted.sort_unstable();
    let all = sorted.len();
    sorted.dedup();
    if sorted.len() < all {
        out.push(format!(
            "{all} shards share {} cores: throughput is that of {} shards; cure: a host with more cores, or fewer shards in `cores.shards`",
            sorted.len(),
            sorted.len()
        ));
    }
    if plan.control.is_some_and(|c| plan.shards.contains(&c)) {
        out.push("the control thread shares a core with a shard: metrics scrapes delay media; cure: another core in `cores.control`".to_owned());
    }
    if available.len() == 1 {
        out.push("only one core: every role shares it; cure: a host with more cores".to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(min: usize, available: &[usize]) -> CorePlan {
        let wishes = CoreWishes {
            shards_min: min,
            ..CoreWishes::default()
        };
        plan(&wishes, available).unwrap()
    }

    #[test]
    fn many_cores_each_role_its_own() {
        let plan = auto(2, &[0, 1, 2, 3]);
        assert_eq!((plan.signalling, plan.shards), (0, vec![1, 2, 3]));
        assert!(plan.warnings.is_empty());
    }

    #[test]
    fn few_cores_are_shared_and_said() {
        let two = auto(2, &[0, 1]);
        assert_eq!((two.signalling, two.shards.clone()), (0, vec![1, 0]));
        assert_eq!(two.warnings.len(), 1, "{:?}", two.warnings);
        let one = auto(2, &[5]);
        assert_eq!((one.signalling, one.shards.clone()), (5, vec![5, 5]));
        assert_eq!(one.warnings.len(), 3, "{:?}", one.warnings);
        assert_eq!(auto(1, &[0]).shards, [0]);
    }

    #[test]
    fn wishes_are_kept_or_refused() {
        let mut wishes = CoreWishes {
            shards: Some(vec![0, 1]),
            ..CoreWishes::default()
        };
        assert_eq!(plan(&wishes, &[0, 1, 2]).unwrap().signalling, 2);
        wishes.shards = Some(vec![1, 1]);
        assert_eq!(
            plan(&wishes, &[0, 1]),
            Err(PlanError::DoubleShard { core: 1 })
        );
        wishes.shards = Some(vec![7]);
        let error = plan(&wishes, &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("cores.shards = 7"), "{error}");
        wishes.shards = Some(vec![]);
        assert_eq!(plan(&wishes, &[0]), Err(PlanError::NoShards));
    }
}
