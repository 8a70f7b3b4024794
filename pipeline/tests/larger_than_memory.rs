//! A file many times larger than what may be in memory is read in windows.
//!
//! What is measured is a whole process, so the test runs itself again as a child. Two limits are proven, on a file of
//! 1 GiB:
//!
//! - A child that maps the file never has more than 68 MiB of it in memory, a fifteenth, as the kernel counts them
//!   (`RssFile`): four windows of 16 MiB and something for the program itself. Nothing but the library keeps it so.
//! - A child that may have 256 MiB of address space, a quarter of the file, reads all of it. The kernel enforces that
//!   on whatever the child maps or allocates. It cannot map the file then, and reads it piece by piece.

#![cfg(target_os = "linux")]

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use feedline_pipeline::source::{RecordFile, RecordFormat};
use feedline_pipeline::{Loader, Shape, Source, Tail};

const FORMAT: RecordFormat = RecordFormat {
    shape: Shape::new(3, 128, 128),
    classes: 10,
    record_length: 1 + 49_152,
    label_offset: 0,
    pixel_offset: 1,
};

/// 1 GiB of records.
const RECORDS: usize = (1 << 30) / FORMAT.record_length;

/// What a child that cannot map the file may have, in bytes.
const ADDRESS_SPACE: usize = 256 << 20;

const WINDOW: usize = 16 << 20;

/// The window that is read, the one before, the one after and one that is begun; and the program itself.
const MOST_RESIDENT: usize = 4 * WINDOW + (4 << 20);

const _: () = assert!(RECORDS * FORMAT.record_length > 15 * MOST_RESIDENT);
const _: () = assert!(RECORDS * FORMAT.record_length > 3 * ADDRESS_SPACE);

/// Names the file to the child.
const CHILD: &str = "FEEDLINE_TEST_LARGE_FILE";

/// Records that begin with their number; the rest is zeros, most of which take no room on the disk.
fn large_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    for index in 0..RECORDS {
        let mut start = vec![(index % 10) as u8];
        start.extend((index as u32).to_le_bytes());
        let offset = index * FORMAT.record_length;
        file.as_file().write_all_at(&start, offset as u64).unwrap();
    }
    let len = RECORDS * FORMAT.record_length;
    file.as_file().set_len(len as u64).unwrap();
    file
}

/// Runs `child` below in a process of its own: `shell` runs what its arguments say.
fn run_child(shell: &str, file: &Path) -> String {
    let output = Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

fn figure(text: &str, name: &str) -> usize {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_file_larger_than_memory_is_read_in_windows() {
    let file = large_file();

    let text = run_child("exec \"$0\" \"$@\"", file.path());
    let (mapped, resident) = (figure(&text, "mapped:"), figure(&text, "resident:"));
    println!(
        "mapped: {} MiB of the file resident at the most, of {}",
        resident >> 20,
        (RECORDS * FORMAT.record_length) >> 20
    );
    assert_eq!(mapped, 1);
    assert!(resident < MOST_RESIDENT, "{resident}");

    let shell = format!("ulimit -v {} && exec \"$0\" \"$@\"", ADDRESS_SPACE >> 10);
    let text = run_child(&shell, file.path());
    assert_eq!(figure(&text, "mapped:"), 0);
}

/// Reads all of the file and prints figures for the test above.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let before = resident_file_pages();
    let source = RecordFile::open(&path, FORMAT).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.contains(&*path.to_string_lossy());
    assert_eq!(source.len(), RECORDS);
    let mut loader = Loader::builder(source)
        .batch_size(16)
        .tail(Tail::Pad)
        .workers(2)
        .element::<u8>()
        .shuffle_blocks(WINDOW)
        .build()
        .unwrap();
    let mut most = resident_file_pages();
    for epoch in 0..2 {
        let mut seen = vec![false; RECORDS];
        for batch in loader.epoch(epoch) {
            let batch = batch.unwrap();
            let rows = batch.pixels().chunks(FORMAT.shape.elements());
            for ((row, &index), &label) in rows.zip(batch.indices()).zip(batch.labels()) {
                let number = u32::from_le_bytes(row[..4].try_into().unwrap());
                assert_eq!((number as usize, label as usize), (index, index % 10));
                assert!(
                    !std::mem::replace(&mut seen[index], true),
                    "{index} comes twice"
                );
            }
            most = most.max(resident_file_pages());
        }
        assert!(seen.into_iter().all(|seen| seen));
    }
    let mut out = std::io::stdout();
    write!(
        out,
        "\nmapped: {}\nresident: {}\n",
        u8::from(mapped),
        most - before
    )
    .unwrap();
}

/// Bytes of files that are mapped and in memory.
fn resident_file_pages() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssFile:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<usize>()
        .unwrap()
        << 10
}
