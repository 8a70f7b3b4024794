//! Downloads: resumed where they stopped, checked, and seen whole or not at all. What is damaged is set aside first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use crate::error::{Error, Result, io_error};

/// No archive of a data set here is half as large; a server that never stops is stopped.
const SIZE_LIMIT: u64 = 1 << 30;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fetches `name` from the first of `addresses` that has it, into `folder`. What an earlier attempt got is continued;
/// two processes that fetch the same file wait for each other. A file of that name which is not the published one is set
/// aside. Returns whether there was anything to fetch.
///
/// The file of an attempt that failed stays, even if it is empty: who waits for its lock would go on with a file that
/// is no longer in the folder.
pub(super) fn fetch(addresses: &[&str], name: &str, md5: &str, folder: &Path) -> Result<bool> {
    let destination = folder.join(name);
    let part = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part)
        .map_err(io_error("write it", &part))?;
    file.lock().map_err(io_error("lock it", &part))?;
    if destination.exists() {
        // It is whole if another process has fetched it while this one waited.
        if is_published(&destination, md5)? {
            return Ok(false);
        }
        set_aside(&destination)?;
    }
    let agent = agent();
    let mut failed = None;
    for address in addresses {
        let url = format!("{address}{name}");
        // A second attempt begins anew: what an earlier one left may have been another file's.
        for _ in 0..2 {
            let resumed = length(&file, &part)? > 0;
            match receive(&agent, &url, &mut file, &part)
                .and_then(|()| check(&mut file, &part, &destination, md5))
            {
                Ok(()) => {
                    file.sync_all().map_err(io_error("write it", &part))?;
                    std::fs::rename(&part, &destination)
                        .map_err(io_error("write it", &destination))?;
                    return Ok(true);
                }
                Err(error) => {
                    let damaged = matches!(error, Error::Checksum { .. });
                    if damaged {
                        file.set_len(0).map_err(io_error("write it", &part))?;
                    }
                    failed = Some(error);
                    if !(damaged && resumed) {
                        break;
                    }
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| download_error(name, "there is no address for it")))
}

/// Whether the file is the one that its authors published.
fn is_published(path: &Path, md5: &str) -> Result<bool> {
    let mut file = File::open(path).map_err(io_error("open it", path))?;
    Ok(md5_of(&mut file, path)? == md5)
}

/// Renames a file to `NAME.damaged`, or `NAME.damaged-2` and so on if there is one: nothing of the user's is lost.
fn set_aside(path: &Path) -> Result<()> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let mut aside = named(".damaged");
    let mut number = 2;
    while aside.symlink_metadata().is_ok() {
        aside = named(&format!(".damaged-{number}"));
        number += 1;
    }
    std::fs::rename(path, aside).map_err(io_error("set it aside", path))
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .accept_encoding("identity")
        .user_agent(concat!("feedline/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Receives what is missing in `file`.
fn receive(agent: &Agent, url: &str, file: &mut File, part: &Path) -> Result<()> {
    let failed = |reason: String| download_error(url, &reason);
    let have = length(file, part)?;
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| failed(error.to_string()))?;
    let start = match response.status() {
        StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => have,
        StatusCode::OK => 0,
        // Nothing is missing, or what is here is not a beginning of it: the checksum will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(()),
        status => return Err(failed(format!("the server answered {status}"))),
    };
    file.set_len(start).map_err(io_error("write it", part))?;
    file.seek(SeekFrom::Start(start))
        .map_err(io_error("write it", part))?;

    let expected = response.body().content_length().map(|rest| start + rest);
    let bar = progress_bar(url, start, expected);
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut received = start;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(format!("{error} after {received} bytes"))),
        };
        received += count as u64;
        if received > SIZE_LIMIT {
            file.set_len(0).map_err(io_error("write it", part))?;
            return Err(failed(format!(
                "the server sends more than {SIZE_LIMIT} bytes"
            )));
        }
        file.write_all(&buffer[..count])
            .map_err(io_error("write it", part))?;
        bar.set_position(received);
    }
    bar.finish_and_clear();
    match expected {
        Some(expected) if received < expected => Err(failed(format!(
            "the connection ended after {received} of {expected} bytes"
        ))),
        _ => Ok(()),
    }
}

/// Where a part of a file begins that a server sends.
fn range_start<B>(response: &Response<B>) -> Option<u64> {
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

fn progress_bar(url: &str, start: u64, expected: Option<u64>) -> ProgressBar {
    let bar = match expected {
        Some(expected) => ProgressBar::new(expected),
        None => ProgressBar::no_length(),
    };
    let template = "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    bar.set_prefix(url.rsplit('/').next().unwrap_or(url).to_owned());
    bar.set_position(start);
    bar
}

fn check(file: &mut File, part: &Path, destination: &Path, md5: &str) -> Result<()> {
    let found = md5_of(file, part)?;
    if found == md5 {
        return Ok(());
    }
    Err(Error::Checksum {
        path: destination.to_owned(),
        expected: md5.to_owned(),
        found,
    })
}

fn md5_of(file: &mut File, path: &Path) -> Result<String> {
    let mut hasher = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    file.seek(SeekFrom::Start(0))
        .map_err(io_error("read it", path))?;
    loop {
        let count = file.read(&mut buffer).map_err(io_error("read it", path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn length(file: &File, part: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(io_error("read it", part))?.len())
}

fn download_error(url: &str, reason: &str) -> Error {
    Error::Download {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    /// What a server does with a request.
    #[derive(Clone, Copy)]
    enum Manner {
        Proper,
        IgnoresRange,
        /// Says how much will come and stops after this many bytes, once; then it is proper.
        StopsOnceAt(usize),
        Answers(&'static str),
        WrongBytes,
    }

    pub(in super::super) struct Server {
        pub(in super::super) address: String,
        /// The ranges that were asked for.
        ranges: Arc<Mutex<Vec<Option<usize>>>>,
    }

    fn content() -> Vec<u8> {
        (0..200_000u64)
            .map(|i| crate::random::mix(i) as u8)
            .collect()
    }

    pub(in super::super) fn md5_of(bytes: &[u8]) -> String {
        let digest = Md5::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    impl Server {
        fn start(manner: Manner) -> Self {
            Self::serve(manner, content())
        }

        /// A proper server that has one file, whatever it is called.
        pub(in super::super) fn of(content: Vec<u8>) -> Self {
            Self::serve(Manner::Proper, content)
        }

        fn serve(manner: Manner, content: Vec<u8>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}/", listener.local_addr().unwrap());
            let ranges = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&ranges);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    // A client that hangs up early is no matter.
                    let _ = Self::answer(&stream.unwrap(), manner, content.clone(), &log);
                }
            });
            Self { address, ranges }
        }

        fn answer(
            mut stream: &TcpStream,
            manner: Manner,
            mut bytes: Vec<u8>,
            log: &Mutex<Vec<Option<usize>>>,
        ) -> io::Result<()> {
            let mut start = None;
            for line in BufReader::new(stream).lines() {
                let line = line?.to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    start = range.trim_end_matches('-').parse().ok();
                }
                if line.is_empty() {
                    break;
                }
            }
            let first = {
                let mut log = log.lock().unwrap();
                log.push(start);
                log.len() == 1
            };
            let mut head = "HTTP/1.1 200 OK".to_owned();
            match (manner, start) {
                (Manner::Answers(status), _) => {
                    head = format!("HTTP/1.1 {status}");
                    bytes.clear();
                }
                (Manner::WrongBytes, _) => bytes[0] ^= 1,
                (Manner::IgnoresRange, _) | (_, None) => {}
                (_, Some(start)) if start >= bytes.len() => {
                    head = "HTTP/1.1 416 Range Not Satisfiable".to_owned();
                    bytes.clear();
                }
                (_, Some(start)) => {
                    let total = bytes.len();
                    head = format!(
                        "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{total}",
                        total - 1
                    );
                    bytes.drain(..start);
                }
            }
            let sent = match manner {
                Manner::StopsOnceAt(count) if first => count,
                _ => bytes.len(),
            };
            write!(
                stream,
                "{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bytes.len()
            )?;
            stream.write_all(&bytes[..sent])
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn fetch_from(servers: &[&Server], folder: &Path) -> Result<bool> {
        let addresses: Vec<&str> = servers
            .iter()
            .map(|server| server.address.as_str())
            .collect();
        fetch(&addresses, "set.gz", &md5_of(&content()), folder)
    }

    fn assert_whole(folder: &Path) {
        assert_eq!(std::fs::read(folder.join("set.gz")).unwrap(), content());
        assert_eq!(names(folder), ["set.gz"]);
    }

    /// Only the empty file that carries the lock is there.
    fn assert_nothing_fetched(folder: &Path) {
        assert_eq!(names(folder), [".set.gz.part"]);
        let part = folder.join(".set.gz.part");
        assert_eq!(part.metadata().unwrap().len(), 0);
    }

    #[test]
    fn an_interrupted_download_is_continued_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(Manner::StopsOnceAt(70_000));
        let error = fetch_from(&[&server], folder.path()).unwrap_err();
        assert!(matches!(error, Error::Download { .. }), "{error}");
        assert_eq!(names(folder.path()), [".set.gz.part"]);
        let have = folder.path().join(".set.gz.part").metadata().unwrap().len() as usize;
        assert!(have > 0 && have <= 70_000);
        fetch_from(&[&server], folder.path()).unwrap();
        assert_whole(folder.path());
        assert_eq!(*server.ranges.lock().unwrap(), [None, Some(have)]);
    }

    #[test]
    fn a_server_that_knows_no_ranges_sends_all_of_it() {
        for rest in [&content()[..1000], b"something else"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(".set.gz.part"), rest).unwrap();
            fetch_from(&[&Server::start(Manner::IgnoresRange)], folder.path()).unwrap();
            assert_whole(folder.path());
        }
    }

    #[test]
    fn a_rest_that_is_no_beginning_of_the_file_is_fetched_anew() {
        for rest in [vec![7; 1000], vec![7; 200_000], vec![7; 300_000]] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(".set.gz.part"), rest).unwrap();
            fetch_from(&[&Server::start(Manner::Proper)], folder.path()).unwrap();
            assert_whole(folder.path());
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_the_servers_answer() {
        for status in ["404 Not Found", "500 Internal Server Error"] {
            let folder = tempfile::tempdir().unwrap();
            let error =
                fetch_from(&[&Server::start(Manner::Answers(status))], folder.path()).unwrap_err();
            assert!(error.to_string().contains(&status[..3]), "{error}");
            assert_nothing_fetched(folder.path());
        }
    }

    #[test]
    fn another_file_than_the_published_one_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch_from(&[&Server::start(Manner::WrongBytes)], folder.path()).unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        assert_nothing_fetched(folder.path());
    }

    #[test]
    fn a_failure_leaves_the_file_that_another_process_waits_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".set.gz.part");
        // As the other process has opened it.
        let mut waiting = File::create(&path).unwrap();
        let missing = Server::start(Manner::Answers("404 Not Found"));
        fetch_from(&[&missing], folder.path()).unwrap_err();
        waiting.lock().unwrap();
        waiting.write_all(b"x").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn the_next_address_is_tried_and_continues_what_the_first_began() {
        let folder = tempfile::tempdir().unwrap();
        let stops = Server::start(Manner::StopsOnceAt(70_000));
        let [wrong, proper] = [Manner::WrongBytes, Manner::Proper].map(Server::start);
        fetch_from(&[&wrong, &stops, &proper], folder.path()).unwrap();
        assert_whole(folder.path());
        assert!(matches!(proper.ranges.lock().unwrap()[..], [Some(_)]));
    }

    #[test]
    fn two_that_fetch_the_same_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(Manner::Proper);
        thread::scope(|scope| {
            let fetch = || fetch_from(&[&server], folder.path()).unwrap();
            let both = [scope.spawn(fetch), scope.spawn(fetch)];
            let fetched = both.map(|thread| thread.join().unwrap());
            assert_eq!(fetched.iter().filter(|&&own| own).count(), 1);
        });
        assert_eq!(server.ranges.lock().unwrap().len(), 1);
        assert_eq!(
            std::fs::read(folder.path().join("set.gz")).unwrap(),
            content()
        );
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_nothing_set_aside_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(Manner::Proper);
        for rest in ["first", "second"] {
            std::fs::write(folder.path().join("set.gz"), rest).unwrap();
            assert!(fetch_from(&[&server], folder.path()).unwrap());
        }
        assert!(!fetch_from(&[&server], folder.path()).unwrap());
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read("set.gz"), content());
        assert_eq!(read("set.gz.damaged"), b"first");
        assert_eq!(read("set.gz.damaged-2"), b"second");
        assert_eq!(server.ranges.lock().unwrap().len(), 2);
    }
}
