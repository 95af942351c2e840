use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use weft_wire::meta::{ListDirectory, Rename, RenameMode};

use super::*;

/// The files as a process that is killed now would leave them: the index first, so that it is not ahead of the log.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("directory");
    fs::copy(dir.join("index"), copy.path().join("index")).expect("copies");
    fs::create_dir(copy.path().join("log")).expect("makes");
    for entry in dir.join("log").read_dir().expect("lists") {
        let entry = entry.expect("lists");
        fs::copy(entry.path(), copy.path().join("log").join(entry.file_name())).expect("copies");
    }
    copy
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Unlink(u8),
    Rename(u8, u8),
    Mode(u8, u16),
    /// The process is killed; what was executed and not answered may be there or not.
    Kill {
        unanswered: Option<u8>,
    },
    /// The process ends in order.
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let file = 0_u8..6;
    prop_oneof![
        5 => file.clone().prop_map(Step::Create),
        3 => file.clone().prop_map(Step::Unlink),
        3 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (file.clone(), 0_u16..0o1000).prop_map(|(file, mode)| Step::Mode(file, mode)),
        2 => prop::option::of(file).prop_map(|unanswered| Step::Kill { unanswered }),
        1 => Just(Step::Restart),
    ]
}

/// What there is: names, and the modes of their files.
fn listing(owner: &Owner, frontend: &mut Frontend) -> BTreeMap<Vec<u8>, (Inode, u16)> {
    let list = ListDirectory { inode: Inode::ROOT, after: 0, limit: 100, with_attributes: true };
    match frontend.ask(owner, MetaOp::ListDirectory(list)) {
        Ok(MetaReply::Directory(page)) => page
            .entries
            .into_iter()
            .map(|entry| {
                let attributes = entry.attributes.expect("asked for");
                (entry.name.as_bytes().to_vec(), (entry.inode, attributes.mode))
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn file(number: u8) -> String {
    format!("file {number}")
}

/// Does a step that is answered, in the owner and in the model alike.
fn answered(
    owner: &Owner,
    frontend: &mut Frontend,
    model: &mut BTreeMap<Vec<u8>, (Inode, u16)>,
    step: &Step,
) {
    let bytes = |number: &u8| file(*number).into_bytes();
    match step {
        Step::Create(number) => match frontend.ask(owner, create(&file(*number))) {
            Ok(made) => assert!(model.insert(bytes(number), (inode_of(&made), 0o644)).is_none()),
            Err(error) => assert_eq!((error, model.contains_key(&bytes(number))), (MetaError::Exists, true)),
        },
        Step::Unlink(number) => {
            let removed = frontend.ask(owner, unlink(&file(*number)));
            assert_eq!(removed.is_ok(), model.remove(&bytes(number)).is_some());
        }
        Step::Rename(from, to) => {
            let (parent, new_parent) = (Inode::ROOT, Inode::ROOT);
            let (name, new_name) = (name(&file(*from)), name(&file(*to)));
            let rename = Rename { parent, name, new_parent, new_name, mode: RenameMode::Replace };
            let moved = frontend.ask(owner, MetaOp::Rename(rename));
            assert_eq!(moved.is_ok(), model.contains_key(&bytes(from)));
            if let Some(inode) = model.remove(&bytes(from)) {
                model.insert(bytes(to), inode);
            }
        }
        Step::Mode(number, mode) => {
            if let Some((inode, known)) = model.get_mut(&bytes(number)) {
                let changes = weft_wire::meta::AttributeChanges { mode: Some(*mode), ..Default::default() };
                frontend.ask(owner, MetaOp::SetAttributes { inode: *inode, changes }).expect("set");
                *known = *mode;
            }
        }
        Step::Kill { .. } | Step::Restart => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_was_answered_is_there_after_every_crash(steps in prop::collection::vec(any_step(), 1..30)) {
        let mut dir = tempfile::tempdir().expect("directory");
        let mut epoch = 1;
        let mut owner = open_under(dir.path(), epoch);
        let mut frontend = Frontend::attach(&owner);
        let mut model = BTreeMap::new();
        for step in &steps {
            let unanswered = match step {
                Step::Kill { unanswered } => unanswered.map(|number| frontend.call(create(&file(number)))),
                Step::Restart => None,
                step => {
                    answered(&owner, &mut frontend, &mut model, step);
                    continue;
                }
            };
            let executed = unanswered.as_ref().map(|call| execute(&owner, call).expect("serves"));
            if matches!(step, Step::Kill { .. }) {
                dir = killed(dir.path());
            } else {
                owner.close();
            }
            drop(owner);
            epoch += 1;
            owner = open_under(dir.path(), epoch);
            prop_assert_eq!(owner.renew_session(NODE, frontend.session, Instant::now()), Ok(true));
            // The retry decides: done before the crash or now, it is done once.
            if let (Some(call), Some(_)) = (unanswered, executed)
                && let Ok(made) = block_on(owner.meta(NODE, &call, &view())).expect("serves")
            {
                let MetaOp::MakeNode(op) = &call.op else { unreachable!() };
                model.insert(op.name.as_bytes().to_vec(), (inode_of(&made), 0o644));
            }
            prop_assert_eq!(&listing(&owner, &mut frontend), &model);
        }
        prop_assert_eq!(listing(&owner, &mut frontend), model);
    }
}

#[test]
fn a_retry_after_a_crash_gets_the_first_answer_key_included() {
    let dir = tempfile::tempdir().expect("directory");
    let owner = open_under(dir.path(), 1);
    let mut frontend = Frontend::attach(&owner);
    let call = frontend.call(create("a"));
    let first = block_on(owner.meta(NODE, &call, &view())).expect("serves").expect("made");
    let copy = killed(dir.path());
    let next = open_under(copy.path(), 2);
    let again = block_on(next.meta(NODE, &call, &view())).expect("serves").expect("made");
    assert_eq!(first, again);
    assert_eq!(listing(&next, &mut frontend).len(), 1);
}

#[test]
fn an_index_far_behind_catches_up_from_the_log() {
    let dir = tempfile::tempdir().expect("directory");
    drop(open_under(dir.path(), 1));
    let stale = tempfile::tempdir().expect("directory");
    fs::copy(dir.path().join("index"), stale.path().join("index")).expect("copies");
    let owner = open_under(dir.path(), 2);
    let mut frontend = Frontend::attach(&owner);
    for number in 0..50 {
        frontend.ask(&owner, create(&file(number))).expect("made");
    }
    owner.close();
    drop(owner);
    fs::copy(stale.path().join("index"), dir.path().join("index")).expect("copies");
    let owner = open_under(dir.path(), 3);
    assert_eq!(listing(&owner, &mut frontend).len(), 50);
}

#[test]
fn damage_in_the_log_is_named_and_an_older_epoch_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let owner = open_under(dir.path(), 5);
    Frontend::attach(&owner).ask(&owner, create("a")).expect("made");
    owner.close();
    drop(owner);
    let again = || Owner::open(dir.path(), Epoch::new(4), Keys::of_a_test(FILESYSTEM), settings());
    let error = again().expect_err("deposed").to_string();
    assert!(error.contains("epoch 4 was replaced by epoch 5"), "{error}");
    let segment = dir.path().join("log").read_dir().expect("lists").map(|entry| entry.expect("lists").path());
    let segment =
        segment.into_iter().find(|path| path.to_string_lossy().contains("segment-")).expect("a segment");
    let mut bytes = fs::read(&segment).expect("reads");
    bytes[700] ^= 1;
    fs::write(&segment, &bytes).expect("writes");
    let error = again().expect_err("damaged").to_string();
    assert!(error.contains("segment-") && error.contains("damaged at byte"), "{error}");
}

#[test]
fn a_filesystem_is_opened_to_be_dropped_without_keys() {
    let dir = tempfile::tempdir().expect("directory");
    let owner = open_under(dir.path(), 1);
    let session = attach(&owner, &asked(false)).expect("opens");
    owner.close_session(NODE, session).expect("closes");
    owner.close();
    drop(owner);
    let owner = Owner::open_to_drop(dir.path(), FILESYSTEM, settings()).expect("opens");
    assert!(owner.is_dropping());
    assert_eq!(owner.read(|tx| weft_meta::drop::extents_left(tx)), Ok(0));
    let mut frontend = Frontend { session, seq: 0 };
    assert_eq!(execute(&owner, &frontend.call(lookup("a"))), Err(Fault::NotServing));
}
