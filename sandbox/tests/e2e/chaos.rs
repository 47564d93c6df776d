//! A small dose of what `cargo sandbox chaos` gives: kills, a restart of the database and cuts of the
//! network while a hundred connections come and go.

use sandbox::{
    chaos::{
        run::{Size, run},
        timeline::Dose,
    },
    tools::Tools,
};
use std::{env, time::Duration};

/// Enough for the longest lease of what a kill cut off, twice.
const BOUND: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_everything_fails() {
    // Another seed is another disaster.
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test is its main function")]
    let seed = env::var("SANDBOX_SEED").map_or(1, |seed| seed.parse().unwrap());
    let tools = Tools::for_tests().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dose = Dose::small();
    let size = Size { seed, connections: 100, dose: dose.clone(), bound: BOUND };
    let report = Box::pin(run(&tools, folder.path(), &size)).await.unwrap();
    let folder = if report.violations.is_empty() { None } else { Some(folder.keep()) };
    assert_eq!(report.violations, [], "logs in {folder:?}; seed {seed}\n{}", report.table());
    let cuts = u32::try_from(dose.cuts.len()).unwrap();
    let done = (report.done.kills, report.done.restarts, report.done.cuts);
    assert_eq!(done, (dose.kills, dose.restarts, cuts));
    assert!(report.recording.arrivals.iter().any(|arrival| !arrival.was_taken));
}
