//! Groups that have nobody in them but one user: many distributions give each user one and let it write.

use std::fs;

/// Whether nobody but `user` is in `group`, as far as the local lists of users and groups say.
///
/// Where they say nothing, for users of a directory service for example, the answer is no.
pub(super) fn is_private(user: u32, group: u32) -> bool {
    let (Ok(users), Ok(groups)) = (fs::read("/etc/passwd"), fs::read("/etc/group")) else { return false };
    is_private_in(user, group, &String::from_utf8_lossy(&users), &String::from_utf8_lossy(&groups))
}

fn is_private_in(user: u32, group: u32, users: &str, groups: &str) -> bool {
    let (user, group) = (user.to_string(), group.to_string());
    let column = |line: &str, index: usize| line.split(':').nth(index).unwrap_or_default().to_owned();
    let Some(name) = users.lines().find(|line| column(line, 2) == user).map(|line| column(line, 0)) else {
        return false;
    };
    let others = users.lines().any(|line| column(line, 3) == group && column(line, 2) != user);
    let mut entries = groups.lines().filter(|line| column(line, 2) == group);
    let alone = |line: &str| {
        column(line, 0) == name
            && column(line, 3).split(',').all(|member| member.is_empty() || member == name)
    };
    !others && entries.next().is_some_and(alone) && entries.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n\
                         eve:x:1002:1001::/:/bin/sh\n";

    #[test]
    fn a_group_is_private_when_it_has_the_users_name_and_nobody_else() {
        let private = |user, group, groups| is_private_in(user, group, USERS, groups);
        assert!(private(1000, 1000, "ann:x:1000:\n"));
        assert!(private(1000, 1000, "ann:x:1000:ann\n"));
        assert!(!private(1000, 1000, "ann:x:1000:bob\n"));
        assert!(!private(1000, 1000, "staff:x:1000:\n"));
        assert!(!private(1001, 1001, "bob:x:1001:\n"), "it is another user's first group");
        assert!(!private(1000, 1000, ""));
        assert!(!private(4242, 1000, "ann:x:1000:\n"));
    }
}
