//! Verdicts for machines that nobody here has, and the table they end up in.

use super::*;

const ALL: [&str; 4] = ["copy", "splice", "sockmap", "packet"];

/// A machine on which everything runs.
fn machine() -> Machine {
    Machine {
        kernel: Kernel::of("6.18.45"),
        capabilities: ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW"].map(str::to_owned).to_vec(),
        seccomp_filter: false,
        io_uring: IoUring { refused: None, disabled: Some(0) },
        splice_refused: None,
        programs_refused: None,
        raw_refused: None,
        membarrier_refused: None,
        btf: true,
        bpffs: Some("/sys/fs/bpf".into()),
        memlock_bytes: None,
        open_files: OpenFiles::of(1024, 20_000, 2, None),
        cgroup_memory_bytes: None,
    }
}

fn missing(machine: &Machine, engine: &str) -> Vec<Need> {
    let report = engines(machine, &ALL).into_iter().find(|report| report.engine == engine).unwrap();
    assert_eq!(report.available, report.missing.is_empty());
    report.missing.into_iter().map(|missing| missing.what).collect()
}

fn available(machine: &Machine) -> Vec<&'static str> {
    engines(machine, &ALL).into_iter().filter(|report| report.available).map(|report| report.engine).collect()
}

#[test]
fn everything_runs_where_nothing_is_missing() {
    assert_eq!(available(&machine()), ALL);
}

#[test]
fn an_engine_that_is_not_built_is_never_available() {
    for report in engines(&machine(), &["copy"]) {
        let built = report.engine == "copy";
        assert_eq!(report.available, built);
        let expected = if built { vec![] } else { vec![Missing::new(Need::Build, "not in this build")] };
        assert_eq!(report.missing, expected);
    }
}

#[test]
fn without_io_uring_copy_still_runs_and_says_how() {
    let io_uring = IoUring { refused: Some("Operation not permitted".to_owned()), disabled: Some(2) };
    let machine = Machine { io_uring, ..machine() };
    assert_eq!(missing(&machine, "copy"), []);
    assert_eq!(missing(&machine, "splice"), []);
    assert_eq!(missing(&machine, "sockmap"), [Need::IoUring]);
    let note = engines(&machine, &ALL)[0].note.clone().unwrap();
    assert_eq!(note, "moves bytes with epoll, since there is no io_uring: Operation not permitted");
}

#[test]
fn without_the_system_call_there_is_no_splice() {
    let machine = Machine { splice_refused: Some("Operation not permitted".to_owned()), ..machine() };
    assert_eq!(available(&machine), ["copy", "sockmap", "packet"]);
    assert_eq!(missing(&machine, "splice"), [Need::Splice]);
}

#[test]
fn without_capabilities_the_kernel_engines_are_out() {
    let programs_refused = Some(Missing::new(Need::Capability, "CAP_BPF missing"));
    let machine = Machine { programs_refused, ..machine() };
    assert_eq!(available(&machine), ["copy", "splice"]);
    assert_eq!(missing(&machine, "sockmap"), [Need::Capability]);
    assert_eq!(missing(&machine, "packet"), [Need::Capability]);
}

#[test]
fn each_thing_that_packet_alone_needs_is_told() {
    let refused = || Some("Operation not permitted".to_owned());
    let raw = Machine { raw_refused: refused(), ..machine() };
    assert_eq!((missing(&raw, "packet"), missing(&raw, "sockmap")), (vec![Need::RawSocket], vec![]));
    let membarrier = Machine { membarrier_refused: refused(), ..machine() };
    assert_eq!(missing(&membarrier, "packet"), [Need::Membarrier]);
    let mut unmounted = Machine { bpffs: None, ..machine() };
    assert_eq!((missing(&unmounted, "packet"), missing(&unmounted, "sockmap")), (vec![Need::BpfFs], vec![]));
    unmounted.capabilities.push("CAP_SYS_ADMIN".to_owned());
    assert_eq!(missing(&unmounted, "packet"), []);
}

#[test]
fn a_kernel_with_a_bug_that_we_would_meet_takes_sockmap_out_only() {
    let machine = Machine { kernel: Kernel::of("6.12.33-amd64"), ..machine() };
    assert_eq!(available(&machine), ["copy", "splice", "packet"]);
    assert_eq!(missing(&machine, "sockmap"), [Need::Kernel, Need::Kernel]);
}

#[test]
fn a_bug_that_no_program_of_ours_meets_takes_nothing_out() {
    let machine = Machine { kernel: Kernel::of("6.18.44"), ..machine() };
    assert!(!machine.kernel.known_bugs.is_empty());
    assert_eq!(available(&machine), ALL);
}

#[test]
fn an_old_kernel_is_told_which_one_it_takes() {
    let machine = Machine { kernel: Kernel::of("5.4.0-150-generic"), ..machine() };
    assert_eq!(available(&machine), ["copy", "splice"]);
    let packet = &engines(&machine, &ALL)[3];
    assert_eq!(packet.missing[0].detail, "Linux 6.6.0 or newer; this is 5.4.0-150-generic");
}

#[test]
fn a_release_that_nobody_can_read_rules_nothing_out() {
    let machine = Machine { kernel: Kernel::of("custom"), ..machine() };
    assert_eq!(available(&machine), ALL);
}

#[test]
fn the_table_names_every_engine_and_everything_missing() {
    let machine = Machine { kernel: Kernel::of("5.4.0"), ..machine() };
    let report = Report { engines: engines(&machine, &["copy", "packet"]), machine };
    let table = report.to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "copy     yes  moves bytes with io_uring");
    assert_eq!(lines[1], "splice   no   not in this build");
    assert_eq!(lines[2], "sockmap  no   not in this build");
    assert_eq!(lines[3], "              Linux 5.11.0 or newer; this is 5.4.0");
    assert!(table.contains("\npacket   no   Linux 6.6.0 or newer; this is 5.4.0\n"));
    let room = "\nRLIMIT_NOFILE    20000 (soft limit 1024), room for 9864 streams per worker, 19728 with 2\n";
    assert!(table.contains(room), "{table}");
}

#[test]
fn one_table_for_all_workers_is_told_with_its_reason() {
    let open_files = OpenFiles::of(1024, 20_000, 2, Some("Operation not permitted".to_owned()));
    let machine = Machine { open_files, ..machine() };
    let table = Report { engines: Vec::new(), machine }.to_string();
    let room =
        "room for 9864 streams, since workers cannot have descriptor tables of their own: Operation not permitted\n";
    assert!(table.contains(room), "{table}");
}

#[test]
fn this_machine_can_be_probed_and_copy_runs_on_it() {
    let report = probe();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["engines"][0]["engine"], "copy");
    assert_eq!(json["engines"][0]["available"], true);
    assert_ne!(json["machine"]["kernel"]["version"], serde_json::Value::Null);
    println!("{report}");
}
