use super::*;
use proptest::prelude::*;

const SPACE: usize = 300;

/// Every byte of a small file: what is dirty, and what is on its way.
#[derive(Debug, Clone)]
struct Model {
    dirty: Vec<Option<u8>>,
    flight: Vec<Option<u8>>,
}

#[derive(Debug, Clone)]
enum Step {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
    Take(usize),
    Arrive,
    Land,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..SPACE - 60, proptest::collection::vec(any::<u8>(), 1..60));
    prop_oneof![
        6 => write.prop_map(|(offset, data)| Step::Write { offset, data }),
        1 => (0..SPACE).prop_map(Step::Truncate),
        2 => (1..6_usize).prop_map(Step::Take),
        1 => Just(Step::Arrive),
        1 => Just(Step::Land),
        1 => Just(Step::Restore),
    ]
}

fn count(bytes: &[Option<u8>]) -> u64 {
    bytes.iter().flatten().count() as u64
}

impl Model {
    fn top(&self) -> Vec<Option<u8>> {
        self.dirty.iter().zip(&self.flight).map(|(dirty, flight)| dirty.or(*flight)).collect()
    }
}

fn apply(step: &Step, runs: &mut DirtyRuns, model: &mut Model, airborne: &mut Option<Vec<u64>>) {
    match step {
        Step::Write { offset, data } => {
            let before = count(&model.dirty);
            model.dirty[*offset..offset + data.len()]
                .iter_mut()
                .zip(data)
                .for_each(|(place, byte)| *place = Some(*byte));
            let fresh = count(&model.dirty) - before;
            assert_eq!(runs.write(*offset as u64, data), data.len() as u64 - fresh);
        }
        Step::Truncate(size) => {
            let gone = count(&model.dirty[*size..]);
            model.dirty[*size..].fill(None);
            model.flight[*size..].fill(None);
            assert_eq!(runs.truncate(*size as u64), gone);
        }
        Step::Take(most) if airborne.is_none() => {
            let pieces = runs.take(Take::All, *most);
            *airborne = Some(pieces.iter().map(|piece| piece.offset).collect());
            for piece in pieces {
                let range = index(&(piece.offset..piece.end()), 0);
                for (at, byte) in range.zip(&piece.data) {
                    assert_eq!(model.dirty[at].take(), Some(*byte));
                    model.flight[at] = Some(*byte);
                }
            }
        }
        Step::Arrive if airborne.as_ref().is_some_and(|pieces| !pieces.is_empty()) => {
            let pieces = airborne.as_mut().expect("a flight");
            let offset = pieces.remove(pieces.len() / 2);
            let next = pieces.iter().copied().filter(|other| *other > offset).min();
            let held = runs.held();
            let arrived = runs.arrive(core::iter::once(offset));
            assert_eq!(runs.held(), held - arrived);
            model.flight[offset as usize..next.map_or(SPACE, |next| next as usize)].fill(None);
        }
        Step::Land if airborne.is_some() => {
            let pieces = airborne.take().expect("a flight");
            model.flight.fill(None);
            runs.arrive(pieces.into_iter());
            assert_eq!(runs.held(), runs.dirty());
        }
        Step::Restore if airborne.is_some() => {
            *airborne = None;
            model.dirty = model.top();
            model.flight.fill(None);
            runs.restore();
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn runs_behave_as_an_array_of_bytes(
        steps in proptest::collection::vec(step(), 1..40),
        from in 0..SPACE,
        len in 0..SPACE,
    ) {
        let mut runs = DirtyRuns::default();
        let mut model = Model { dirty: vec![None; SPACE], flight: vec![None; SPACE] };
        let mut airborne = None;
        for step in &steps {
            apply(step, &mut runs, &mut model, &mut airborne);
            prop_assert_eq!(runs.dirty(), count(&model.dirty));
            prop_assert!(!runs.has_full_run());
            let end = model.top().iter().rposition(Option::is_some).map_or(0, |last| last as u64 + 1);
            prop_assert_eq!(runs.end(), end);
        }
        let until = (from + len).min(SPACE);
        let mut out = vec![0xEE; until - from];
        let missing = runs.read(from as u64, &mut out);
        for (at, expected) in (from..until).zip(&model.top()[from..until]) {
            let gap = missing.iter().any(|gap| gap.contains(&(at as u64)));
            prop_assert_eq!(gap, expected.is_none());
            prop_assert_eq!(out[at - from], expected.unwrap_or(0xEE));
        }
    }
}

#[test]
fn a_stream_becomes_extents_of_full_length() {
    let mut runs = DirtyRuns::default();
    let block = vec![7; 1 << 20];
    for i in 0..9_u64 {
        runs.write(i << 20, &block);
    }
    assert!(runs.has_full_run());
    let pieces = runs.take(Take::Full, 100);
    let shape: Vec<_> = pieces.iter().map(|piece| (piece.offset, piece.data.len())).collect();
    assert_eq!(shape, [(0, RUN_BYTES_MAX), (4 << 20, RUN_BYTES_MAX)]);
    assert_eq!((runs.dirty(), runs.held()), (1 << 20, 9 << 20));
    assert_eq!(runs.arrive([4 << 20].into_iter()), 4 << 20);
    assert_eq!(runs.arrive([0].into_iter()), 4 << 20);
    assert!(!runs.has_full_run() && !runs.is_clean());
}

#[test]
fn runs_written_backwards_become_one_extent() {
    let mut runs = DirtyRuns::default();
    for offset in [8192, 4096, 0] {
        runs.write(offset, &[1; 4096]);
    }
    let pieces = runs.take(Take::All, 10);
    assert_eq!(pieces.len(), 1);
    assert_eq!((pieces[0].offset, pieces[0].data.len()), (0, 12288));
}

#[test]
fn a_flight_takes_the_first_runs_and_full_ones_wherever_they_are() {
    let mut runs = DirtyRuns::default();
    for offset in [0, 100, 200] {
        runs.write(offset, b"scattered");
    }
    runs.write(1 << 30, &vec![7; RUN_BYTES_MAX]);
    let offsets = |pieces: Vec<Piece>| pieces.iter().map(|piece| piece.offset).collect::<Vec<_>>();
    assert_eq!(offsets(runs.take(Take::Full, 2)), [1 << 30]);
    assert!(!runs.has_full_run());
    runs.restore();
    assert!(runs.has_full_run());
    assert_eq!(offsets(runs.take(Take::All, 2)), [0, 100]);
    runs.arrive([0, 100].into_iter());
    assert_eq!(offsets(runs.take(Take::All, 2)), [200, 1 << 30]);
    assert!(!runs.has_full_run());
}

#[test]
fn what_was_written_during_a_failed_flight_stays_on_top() {
    let mut runs = DirtyRuns::default();
    runs.write(0, b"aaaa");
    runs.take(Take::All, 10);
    runs.write(1, b"BB");
    assert_eq!(runs.restore(), 2);
    let mut out = [0; 4];
    assert!(runs.read(0, &mut out).is_empty());
    assert_eq!(&out, b"aBBa");
    assert_eq!(runs.held(), 4);
}
