//! Random steps, in so few names, places and descriptors that they meet.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Access, Action, Open, RenameHow, SLOTS, SetHow, Side, Step};

/// Sequences of a few first steps, without which most of the others would meet nothing, and up to this many more.
pub fn steps(len_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let first = first_steps();
    let all = first.len();
    (prop::sample::subsequence(first, all / 2..=all), vec(step(), 1..len_max))
        .prop_map(|(first, more)| first.into_iter().chain(more).collect())
}

/// Directories, open files with contents, links of both kinds, attributes.
fn first_steps() -> Vec<Step> {
    let text = str::to_owned;
    let folder = |path: &str| Action::MakeDirectory { path: text(path), mode: 0o755 };
    let file = |slot: usize, path: &str| Action::Open {
        slot,
        path: text(path),
        how: Open {
            access: Access::Both,
            create: Some(0o644),
            exclusive: false,
            truncate: false,
            append: false,
            directory: false,
            no_follow: false,
        },
    };
    let xattr = |path: &str| Action::SetXattr {
        path: text(path),
        name: text("user.a"),
        value: vec![7],
        how: SetHow::Any,
    };
    let actions = [
        folder("a"),
        folder("a/b"),
        file(0, "a/a"),
        Action::Write { slot: 0, at: 0, len: 5000, fill: 1 },
        file(1, "b"),
        xattr("b"),
        xattr("a"),
        Action::Link { from: text("b"), to: text("a/c") },
        Action::Symlink { target: text("a"), path: text("c") },
        Action::Symlink { target: text("b"), path: text("a/b/a") },
    ];
    let sides = [Side::A, Side::B].into_iter().cycle();
    sides.zip(actions).map(|(side, action)| Step { side, action }).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let side = prop_oneof![Just(Side::A), Just(Side::B)];
    let action = prop_oneof![3 => on_names(), 3 => on_descriptors(), 2 => on_attributes(), 2 => looks()];
    (side, action).prop_map(|(side, action)| Step { side, action })
}

fn path() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        5 => name().prop_map(str::to_owned),
        4 => (name(), name()).prop_map(|(one, two)| format!("{one}/{two}")),
        1 => (name(), name(), name()).prop_map(|(one, two, three)| format!("{one}/{two}/{three}")),
    ]
}

fn on_names() -> impl Strategy<Value = Action> {
    let how = prop_oneof![
        4 => Just(RenameHow::Replace),
        1 => Just(RenameHow::NoReplace),
        2 => Just(RenameHow::Exchange)
    ];
    prop_oneof![
        4 => (path(), directory_mode()).prop_map(|(path, mode)| Action::MakeDirectory { path, mode }),
        2 => (path(), file_mode()).prop_map(|(path, mode)| Action::MakeSocket { path, mode }),
        2 => (path(), path()).prop_map(|(target, path)| Action::Symlink { target, path }),
        3 => (path(), path()).prop_map(|(from, to)| Action::Link { from, to }),
        3 => path().prop_map(|path| Action::Unlink { path }),
        8 => path().prop_map(|path| Action::RemoveDirectory { path }),
        6 => (path(), path(), how).prop_map(|(from, to, how)| Action::Rename { from, to, how }),
    ]
}

fn on_descriptors() -> impl Strategy<Value = Action> {
    let slot = || 0..SLOTS;
    let at = || prop::sample::select(vec![0_u64, 1, 100, 4095, 4096, 8192, 20_000, 65_536]);
    let len = || prop::sample::select(vec![1_usize, 10, 4096, 5000, 70_000]);
    prop_oneof![
        8 => (slot(), path(), open()).prop_map(|(slot, path, how)| Action::Open { slot, path, how }),
        2 => slot().prop_map(|slot| Action::Close { slot }),
        8 => (slot(), at(), len(), any::<u8>())
            .prop_map(|(slot, at, len, fill)| Action::Write { slot, at, len, fill }),
        6 => (slot(), at(), len()).prop_map(|(slot, at, len)| Action::Read { slot, at, len }),
        2 => (slot(), at()).prop_map(|(slot, len)| Action::ResizeOpen { slot, len }),
        1 => (slot(), file_mode()).prop_map(|(slot, mode)| Action::ModeOpen { slot, mode }),
        3 => slot().prop_map(|slot| Action::StatOpen { slot }),
        2 => slot().prop_map(|slot| Action::Sync { slot }),
    ]
}

fn on_attributes() -> impl Strategy<Value = Action> {
    let len = prop::sample::select(vec![0_u64, 1, 4096, 5000, 100_000]);
    let id = || prop::sample::select(vec![0_u32, 1, 1234]);
    let mode = prop_oneof![file_mode(), directory_mode(), Just(0o2755)];
    let how = prop_oneof![3 => Just(SetHow::Any), 1 => Just(SetHow::Create), 1 => Just(SetHow::Replace)];
    let value = prop_oneof![3 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 1000)];
    prop_oneof![
        3 => (path(), len).prop_map(|(path, len)| Action::Resize { path, len }),
        3 => (path(), mode).prop_map(|(path, mode)| Action::Mode { path, mode }),
        3 => (path(), id(), id()).prop_map(|(path, uid, gid)| Action::Owner { path, uid, gid }),
        2 => (path(), 0..2_000_000_000_i64, 0..1_000_000_000_u32)
            .prop_map(|(path, seconds, nanos)| Action::Modified { path, seconds, nanos }),
        4 => (path(), xattr_name(), value, how)
            .prop_map(|(path, name, value, how)| Action::SetXattr { path, name, value, how }),
        4 => (path(), xattr_name()).prop_map(|(path, name)| Action::RemoveXattr { path, name }),
    ]
}

fn looks() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (path(), any::<bool>()).prop_map(|(path, follow)| Action::Stat { path, follow }),
        2 => path().prop_map(|path| Action::ReadAll { path }),
        2 => path().prop_map(|path| Action::List { path }),
        3 => path().prop_map(|path| Action::ReadLink { path }),
        3 => (path(), xattr_name()).prop_map(|(path, name)| Action::GetXattr { path, name }),
        1 => path().prop_map(|path| Action::ListXattrs { path }),
    ]
}

fn open() -> impl Strategy<Value = Open> {
    let access = prop_oneof![1 => Just(Access::Read), 1 => Just(Access::Write), 3 => Just(Access::Both)];
    let create = prop::option::weighted(0.7, file_mode());
    let flag = |percent: u32| prop::bool::weighted(f64::from(percent) / 100.0);
    (access, create, flag(15), flag(15), flag(25), flag(10), flag(10)).prop_map(
        |(access, create, exclusive, truncate, append, directory, no_follow)| Open {
            access,
            create,
            exclusive: exclusive && create.is_some(),
            truncate: truncate && access != Access::Read,
            append,
            directory: directory && create.is_none(),
            no_follow,
        },
    )
}

fn file_mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o644_u32, 0o600, 0o000, 0o4755, 0o2755, 0o6711])
}

fn directory_mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o755_u32, 0o700, 0o1777, 0o000])
}

fn xattr_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["user.a", "user.b", "trusted.c"]).prop_map(str::to_owned)
}
