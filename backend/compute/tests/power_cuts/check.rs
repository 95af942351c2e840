//! What is there after a cut.

use std::sync::Arc;

use weft_pki::ClusterAuthority;
use weft_types::Inode;
use weft_wire::meta::{ListDirectory, MetaOp, MetaReply, NewNode, RenameMode};

use crate::cluster::{Cluster, DRIVES};
use crate::process::{Action, Rows};
use crate::run::{Moment, Run, folder};
use crate::timeline::{Draw, Event};
use crate::workload::{inode, make, rename, unlink};

/// Runs to its end, on this thread, in time that passes only when nothing else does.
pub(crate) fn paused<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime").block_on(future)
}

/// The power was cut at a moment: takes over from what is left, and compares. `again`: the power is cut once more,
/// while that is done or afterwards.
pub(crate) fn check(run: &Run, authority: &Arc<ClusterAuthority>, cut: usize, loss: u64, again: bool) {
    let moment = run.at(cut);
    let next = recover(moment, run.cluster.left(cut, loss), authority, loss);
    if again {
        let cuts = next.cluster.timeline.cuts(0);
        let mut draw = Draw::new(&[cut as u64, loss]);
        let cut = cuts[draw.below(cuts.len())];
        let loss = draw.below(8) as u64;
        let left = next.cluster.left(cut, loss);
        recover(next.at(cut), left, authority, loss);
    }
}

fn recover(moment: Moment, media: Vec<Vec<u8>>, authority: &Arc<ClusterAuthority>, loss: u64) -> Run {
    let cluster = Cluster::start(media, moment.row.clone(), authority);
    if loss > 1 && loss.is_multiple_of(2) {
        // And as many drives as may be lost do not come back.
        let mut drives: Vec<_> = (0..DRIVES).collect();
        let mut draw = Draw::new(&[loss, moment.known.len() as u64]);
        let away: Vec<_> = (0..2).map(|_| drives.swap_remove(draw.below(drives.len()))).collect();
        cluster.silence(&away);
    }
    let dir = folder();
    // Nothing of the index, the newest, the oldest.
    let index = match loss % 3 {
        0 => None,
        1 => moment.indexes.last(),
        _ => moment.indexes.first(),
    };
    if let Some(index) = index {
        std::fs::copy(index, dir.path().join("index")).expect("copied");
    }
    let mut run = Run::resume(cluster, dir, &moment);
    paused(async {
        let found = run.take_over().await;
        retries(&run, &moment, found);
        go_on(&mut run, &moment, found).await;
        work_on(&mut run).await;
    });
    run
}

/// Who asks again for what is there gets the first answer.
fn retries(run: &Run, moment: &Moment, found: usize) {
    for (number, call) in moment.last_of_slots(found) {
        let answer = Some(run.process().execute(&call));
        assert_eq!(answer, moment.known[&number].answer, "action {number}, of {found} that are there");
    }
}

/// What was not answered is sent again.
async fn go_on(run: &mut Run, moment: &Moment, found: usize) {
    run.send_again(found).await;
    let Some(last) = moment.known.last_key_value().map(|(_, last)| last) else { return };
    for (number, known) in moment.known.range(found + 1..) {
        assert_eq!(run.executed[*number].outline(), known.outline(), "action {number}");
    }
    if last.number > found {
        let (there, expected) = (run.executed[last.number].without_keys(), last.without_keys());
        assert!(there == expected, "{}", difference(&there, &expected));
    }
}

/// The owner that took over works.
async fn work_on(run: &mut Run) {
    run.act(Action::Expire).await;
    run.act(Action::Work).await;
    run.open().await;
    let text = format!("directory after {}", run.actions.len());
    let gone = format!("gone after {}", run.actions.len());
    let moved = format!("moved after {}", run.actions.len());
    let root = Inode::ROOT;
    let directory = inode(run.ask(make(root, &text, NewNode::Directory)).await);
    inode(run.ask(make(directory, "file", NewNode::File)).await);
    inode(run.ask(make(root, &gone, NewNode::File)).await);
    run.ask(rename((directory, "file"), (root, &moved), RenameMode::Replace)).await.expect("renamed");
    run.ask(unlink(root, &gone)).await.expect("unlinked");
    let list = ListDirectory { inode: root, after: 0, limit: 1000, with_attributes: false };
    let Ok(MetaReply::Directory(page)) = run.read(MetaOp::ListDirectory(list)) else { panic!("no page") };
    let there = |text: &[u8]| page.entries.iter().any(|entry| entry.name.as_bytes() == text);
    assert!(there(text.as_bytes()) && there(moved.as_bytes()) && !there(gone.as_bytes()));
    run.end().await;
}

/// Which rows are not what they should be.
pub(crate) fn difference(there: &Rows, expected: &Rows) -> String {
    let keys: std::collections::BTreeSet<_> = there.keys().chain(expected.keys()).collect();
    let differs = keys.into_iter().filter(|key| there.get(*key) != expected.get(*key));
    let show = |key: &Vec<u8>| {
        let key = weft_meta::RowKey::decode(key);
        format!("{key:?}")
    };
    format!("rows differ: {:?}", differs.map(show).collect::<Vec<_>>())
}

impl Run {
    /// After a cut.
    fn resume(cluster: Arc<Cluster>, dir: Arc<tempfile::TempDir>, moment: &Moment) -> Self {
        let mut run = Self::new(cluster, dir);
        run.actions.clone_from(&moment.actions);
        run.before = Some(Box::new(moment.clone()));
        run
    }

    /// Takes over, and answers the number of the last action that is there.
    async fn take_over(&mut self) -> usize {
        let moment = self.before.clone().expect("there was one");
        let process = self.start().await;
        let rows = process.rows();
        self.process = Some(process);
        let found = moment.possible.iter().rfind(|executed| executed.rows == rows).cloned();
        let found = found.unwrap_or_else(|| {
            // Before the filesystem was there, it is made.
            if moment.possible.is_empty() {
                self.process().perform(0, &Action::Format).0
            } else {
                lost(&moment, &rows)
            }
        });
        self.cluster.timeline.note(Event::TookOver(Arc::clone(&found)));
        self.executed = (0..found.number).map(|number| Arc::clone(&moment.known[&number])).collect();
        self.executed.push(Arc::clone(&found));
        if self.actions.is_empty() {
            self.actions.push(Action::Format);
        }
        found.number
    }
}

fn lost(moment: &Moment, rows: &Rows) -> ! {
    let numbers: Vec<_> = moment.possible.iter().map(|executed| executed.number).collect();
    let earlier =
        moment.known.values().find(|executed| executed.rows == *rows).map(|executed| executed.number);
    let newest = moment.possible.last().expect("there is one");
    panic!(
        "{} actions; possible are {numbers:?}; found {earlier:?}; {}",
        moment.known.len(),
        difference(rows, &newest.rows)
    )
}
