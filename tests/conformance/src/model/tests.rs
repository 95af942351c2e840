//! The model alone: what the standard says, in sequences that are short enough to be read.

use std::collections::{BTreeMap, BTreeSet};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::*;

const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const ENOTEMPTY: i32 = 39;
const ELOOP: i32 = 40;

fn text(text: &str) -> String {
    text.to_owned()
}

fn directory(path: &str) -> Action {
    Action::MakeDirectory { path: text(path), mode: 0o755 }
}

fn file(slot: usize, path: &str) -> Action {
    let how = Open {
        access: Access::Both,
        create: Some(0o644),
        exclusive: false,
        truncate: false,
        append: false,
        directory: false,
        no_follow: false,
    };
    Action::Open { slot, path: text(path), how }
}

fn rename(from: &str, to: &str, how: RenameHow) -> Action {
    Action::Rename { from: text(from), to: text(to), how }
}

#[track_caller]
fn expect(model: &mut Model, rows: &[(Action, Outcome)]) {
    for (action, outcome) in rows {
        assert_eq!(model.apply(action), *outcome, "{action:?}");
    }
}

#[test]
fn renames_are_refused_in_the_kernels_order() {
    let (done, refused) = (Outcome::Done, Outcome::Refused);
    let mut model = Model::default();
    expect(
        &mut model,
        &[
            (directory("a"), done.clone()),
            (directory("a/b"), done.clone()),
            (file(0, "f"), done.clone()),
            (rename("x", "y", RenameHow::Replace), refused(ENOENT)),
            (rename("a", "a/b/c", RenameHow::Replace), refused(EINVAL)),
            (rename("a/b", "a", RenameHow::Replace), refused(ENOTEMPTY)),
            (rename("a/b", "a", RenameHow::Exchange), refused(EINVAL)),
            (rename("f", "a", RenameHow::Replace), refused(EISDIR)),
            (rename("a", "f", RenameHow::Replace), refused(ENOTDIR)),
            (rename("f", "f", RenameHow::NoReplace), refused(EEXIST)),
            (rename("f", "g", RenameHow::Exchange), refused(ENOENT)),
            (rename("f", "a/b", RenameHow::Exchange), done.clone()),
            (Action::List { path: text("f") }, Outcome::Names(vec![])),
            (Action::List { path: text("a") }, Outcome::Names(vec![text("b")])),
            (Action::List { path: text("a/b") }, refused(ENOTDIR)),
        ],
    );
}

#[test]
fn a_file_without_a_name_goes_on() {
    let mut model = Model::default();
    let write = Action::Write { slot: 0, at: 2, len: 3, fill: 1 };
    expect(
        &mut model,
        &[
            (file(0, "f"), Outcome::Done),
            (Action::Link { from: text("f"), to: text("g") }, Outcome::Done),
            (Action::Unlink { path: text("f") }, Outcome::Done),
            (Action::Unlink { path: text("g") }, Outcome::Done),
            (write, Outcome::Count(3)),
            (Action::Read { slot: 0, at: 0, len: 9 }, Outcome::Bytes(vec![0, 0, 17, 18, 19])),
        ],
    );
    let Outcome::Attributes(found) = model.apply(&Action::StatOpen { slot: 0 }) else { panic!("attributes") };
    assert_eq!((found.links, found.size), (0, Some(5)));
    expect(
        &mut model,
        &[(Action::Close { slot: 0 }, Outcome::Done), (Action::Sync { slot: 0 }, Outcome::NotOpen)],
    );
}

#[test]
fn links_are_followed_where_the_call_follows_them() {
    let link = |target: &str, path: &str| Action::Symlink { target: text(target), path: text(path) };
    let mut model = Model::default();
    expect(
        &mut model,
        &[
            (directory("d"), Outcome::Done),
            (link("f", "d/l"), Outcome::Done),
            (Action::ReadAll { path: text("d/l") }, Outcome::Refused(ENOENT)),
            // Creating through a link that dangles makes what it names, beside the link.
            (file(0, "d/l"), Outcome::Done),
            (Action::List { path: text("d") }, Outcome::Names(vec![text("f"), text("l")])),
            (link("m", "m"), Outcome::Done),
            (file(1, "m"), Outcome::Refused(ELOOP)),
            (Action::Unlink { path: text("m") }, Outcome::Done),
            (Action::ReadLink { path: text("d/f") }, Outcome::Refused(EINVAL)),
        ],
    );
}

#[test]
fn appending_goes_to_the_end_and_access_is_kept() {
    let how = Open {
        access: Access::Write,
        create: Some(0o600),
        exclusive: true,
        truncate: false,
        append: true,
        directory: false,
        no_follow: false,
    };
    let mut model = Model::default();
    let write = |fill| Action::Write { slot: 2, at: 0, len: 2, fill };
    expect(
        &mut model,
        &[
            (Action::Open { slot: 2, path: text("f"), how }, Outcome::Done),
            (write(0), Outcome::Count(2)),
            (write(1), Outcome::Count(2)),
            (Action::ReadAll { path: text("f") }, Outcome::Bytes(vec![0, 1, 17, 18])),
            (Action::Read { slot: 2, at: 0, len: 1 }, Outcome::Refused(EBADF)),
            (Action::Open { slot: 3, path: text("f"), how }, Outcome::Refused(EEXIST)),
        ],
    );
}

#[test]
fn owners_groups_and_bits_go_as_linux_has_them() {
    let mut model = Model::default();
    let stat = |path: &str| Action::Stat { path: text(path), follow: true };
    let mut looks = |action: &Action, path: &str| {
        assert_eq!(model.apply(action), Outcome::Done, "{action:?}");
        let Outcome::Attributes(found) = model.apply(&stat(path)) else { panic!("attributes of {path}") };
        (found.mode, found.gid, found.links)
    };
    assert_eq!(looks(&directory("d"), "d"), (0o755, 0, 2));
    looks(&Action::Owner { path: text("d"), uid: 0, gid: 7 }, "d");
    assert_eq!(looks(&Action::Mode { path: text("d"), mode: 0o2755 }, "d"), (0o2755, 7, 2));
    assert_eq!(looks(&directory("d/e"), "d/e"), (0o2755, 7, 2), "the group and the bit are inherited");
    assert_eq!(looks(&file(0, "d/f"), "d/f"), (0o644, 7, 1), "of a file only the group");
    looks(&Action::ModeOpen { slot: 0, mode: 0o6755 }, "d/f");
    assert_eq!(looks(&Action::Owner { path: text("d/f"), uid: 1, gid: 1 }, "d/f"), (0o755, 1, 1));
    assert_eq!(looks(&Action::Sync { slot: 0 }, "d"), (0o2755, 7, 3), "two, and one for each directory");
}

#[test]
fn a_time_counts_until_something_may_change_it() {
    let mut model = Model::default();
    let set = Action::Modified { path: text("f"), seconds: 5, nanos: 6 };
    expect(&mut model, &[(file(0, "f"), Outcome::Done), (set, Outcome::Done)]);
    let stat = Action::StatOpen { slot: 0 };
    let Outcome::Attributes(set) = model.apply(&stat) else { panic!("attributes") };
    assert_eq!(set.modified, Some((5, 6)));
    let other = Outcome::Attributes(Attributes { modified: Some((5, 7)), ..set.clone() });
    assert!(!Outcome::Attributes(set).is_met_by(&other), "a time that was set is compared");
    model.apply(&Action::Write { slot: 0, at: 0, len: 1, fill: 0 });
    let Outcome::Attributes(written) = model.apply(&stat) else { panic!("attributes") };
    let other = Outcome::Attributes(Attributes { modified: Some((5, 7)), ..written.clone() });
    assert!(Outcome::Attributes(written).is_met_by(&other), "one that was not is not");
}

/// Random steps are worth what they reach: every action succeeds, and the errnos of the field come up.
#[test]
fn random_steps_reach_every_action_and_many_errnos() {
    let config = Config { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let (mut done, mut errnos) = (BTreeMap::<String, u32>::new(), BTreeSet::new());
    for _ in 0..500 {
        let sequence = steps(60).new_tree(&mut runner).expect("a sequence").current();
        let mut model = Model::default();
        for step in sequence {
            let name = format!("{:?}", step.action).split(' ').next().unwrap_or_default().to_owned();
            match model.apply(&step.action) {
                Outcome::Refused(errno) => drop(errnos.insert(errno)),
                Outcome::NotOpen => {}
                _ => *done.entry(name).or_default() += 1,
            }
        }
    }
    println!("{done:?} {errnos:?}");
    assert_eq!(done.len(), 27, "every action succeeds: {done:?}");
    let rare: Vec<_> = done.iter().filter(|(_, count)| **count < 20).collect();
    assert!(rare.is_empty(), "{rare:?}");
    for errno in [1, ENOENT, 6, EBADF, EEXIST, ENOTDIR, EISDIR, EINVAL, ENOTEMPTY, ELOOP, 61] {
        assert!(errnos.contains(&errno), "errno {errno} never came: {errnos:?}");
    }
}
