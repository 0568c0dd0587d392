//! The deployments behind one model name, and which of them takes a request.

use std::sync::Arc;

use crate::gateway::deployment::Deployment;

/// All deployments of one model name.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    deployment: Arc<Deployment>,
    weight: f64,
}

/// Which members of a group have had their try, and which of those deserve no second one.
#[derive(Debug, Default)]
pub(super) struct Tried {
    failed: Vec<usize>,
    hopeless: Vec<usize>,
}

/// A member that takes the next try.
pub(super) struct Choice<'a> {
    pub(super) index: usize,
    pub(super) deployment: &'a Deployment,
    /// It failed this request before, so it deserves a pause first.
    pub(super) repeated: bool,
}

impl Tried {
    /// Remembers a failure; `hopeless` means that the same member would fail again in the same way.
    pub(super) fn failed(&mut self, index: usize, hopeless: bool) {
        self.failed.push(index);
        if hopeless {
            self.hopeless.push(index);
        }
    }
}

impl Group {
    /// Weights are the `weight`s when any member has one, else the `rpm`s, else equal.
    pub(super) fn new(name: String, deployments: Vec<Arc<Deployment>>) -> Self {
        let by_weight = deployments.iter().any(|deployment| deployment.weight.is_some());
        let by_rpm = deployments.iter().any(|deployment| deployment.rpm.is_some());
        let share = |deployment: &Deployment| match (by_weight, by_rpm) {
            (true, _) => deployment.weight.unwrap_or(0.0),
            #[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
            (false, true) => deployment.rpm.unwrap_or(0) as f64,
            (false, false) => 1.0,
        };
        let members = deployments
            .into_iter()
            .map(|deployment| Member { weight: share(&deployment), deployment })
            .collect();
        Group { name, members }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The prefix of the first member's provider.
    pub(super) fn provider(&self) -> &'static str {
        self.members.first().map_or("", |member| member.deployment.provider.prefix)
    }

    pub(super) fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.members.iter().map(|member| &*member.deployment)
    }

    /// Picks by chance among those that were not tried and are not cooling down; then among those not tried;
    /// then among those that may succeed the second time. A group whose members all cool down still answers.
    pub(super) fn pick(&self, tried: &Tried) -> Option<Choice<'_>> {
        if let ([only], []) = (&self.members[..], &tried.failed[..]) {
            return Some(Choice { index: 0, deployment: &only.deployment, repeated: false });
        }
        let fresh = |index: usize| !tried.failed.contains(&index);
        let (index, repeated) = self
            .draw(|index, member| fresh(index) && !member.deployment.is_cooling())
            .or_else(|| self.draw(|index, _| fresh(index)))
            .map(|index| (index, false))
            .or_else(|| self.draw(|index, _| !tried.hopeless.contains(&index)).map(|index| (index, true)))?;
        Some(Choice { index, deployment: &self.members[index].deployment, repeated })
    }

    fn draw(&self, eligible: impl Fn(usize, &Member) -> bool) -> Option<usize> {
        let candidates =
            || self.members.iter().enumerate().filter(|(index, member)| eligible(*index, member));
        let (count, total) =
            candidates().fold((0, 0.0), |(count, total), (_, member)| (count + 1, total + member.weight));
        if total <= 0.0 {
            return (count > 0).then(|| candidates().nth(fastrand::usize(..count)))?.map(|(index, _)| index);
        }
        let mut point = fastrand::f64() * total;
        let mut last = None;
        for (index, member) in candidates().filter(|(_, member)| member.weight > 0.0) {
            last = Some(index);
            point -= member.weight;
            if point < 0.0 {
                break;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gateway::deployment::{DeploymentSpec, Text};

    fn deployment(weight: Option<f64>, rpm: Option<u64>) -> Arc<Deployment> {
        Arc::new(
            Deployment::new(DeploymentSpec {
                setting: "model_list[0]".into(),
                model_name: "m".into(),
                model: "openai_like/m".into(),
                api_base: Some(Text::Literal("http://localhost:1".into())),
                weight,
                rpm,
                ..DeploymentSpec::default()
            })
            .unwrap(),
        )
    }

    fn shares(group: &Group, tried: &Tried) -> Vec<usize> {
        let mut counts = vec![0; group.members.len()];
        for _ in 0..4000 {
            counts[group.pick(tried).unwrap().index] += 1;
        }
        counts
    }

    #[test]
    fn weight_comes_before_rpm_and_rpm_before_equal_shares() {
        let group =
            Group::new("m".into(), vec![deployment(Some(3.0), Some(1)), deployment(Some(1.0), Some(99))]);
        let counts = shares(&group, &Tried::default());
        assert!((2700..3300).contains(&counts[0]), "{counts:?}");
        let group = Group::new("m".into(), vec![deployment(None, Some(900)), deployment(None, Some(100))]);
        let counts = shares(&group, &Tried::default());
        assert!((3400..3800).contains(&counts[0]), "{counts:?}");
        let group = Group::new("m".into(), vec![deployment(None, None), deployment(None, None)]);
        let counts = shares(&group, &Tried::default());
        assert!((1700..2300).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_weight_of_zero_takes_requests_only_when_nobody_else_can() {
        let group = Group::new("m".into(), vec![deployment(Some(1.0), None), deployment(Some(0.0), None)]);
        let mut tried = Tried::default();
        assert_eq!(shares(&group, &tried), [4000, 0]);
        tried.failed(0, false);
        assert_eq!(shares(&group, &tried), [0, 4000]);
    }

    #[test]
    fn a_cooling_deployment_is_passed_over_until_all_cool() {
        let group = Group::new("m".into(), vec![deployment(None, None), deployment(None, None)]);
        group.members[0].deployment.cool_down(Duration::from_secs(60));
        assert_eq!(shares(&group, &Tried::default()), [0, 4000]);
        group.members[1].deployment.cool_down(Duration::from_secs(60));
        assert!(shares(&group, &Tried::default()).iter().all(|count| *count > 0));
    }

    #[test]
    fn a_second_try_needs_a_pause_and_a_hopeless_one_is_not_made() {
        let group = Group::new("m".into(), vec![deployment(None, None), deployment(None, None)]);
        let mut tried = Tried::default();
        tried.failed(0, true);
        let next = group.pick(&tried).unwrap();
        assert_eq!((next.index, next.repeated), (1, false));
        tried.failed(1, false);
        let next = group.pick(&tried).unwrap();
        assert_eq!((next.index, next.repeated), (1, true));
        tried.failed(1, true);
        assert!(group.pick(&tried).is_none());
    }
}
