//! The one error type of this crate.

use std::path::PathBuf;
use std::time::Duration;

/// What this crate's fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of somebody else's code that runs inside the pipeline: a user's source or `map`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Everything that can go wrong between a file on disk and a batch.
///
/// Every message says what was found, what was expected, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: a missing file, no permission, a full disk.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as in "cannot *open*".
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },

    /// A file was opened and is not what its format demands.
    #[error("{}: {fault}{}: expected {expected}, found {found}; {}", path.display(), fault.place(*offset), fault.advice())]
    Malformed {
        /// The file that was read: once a compressed file is unpacked, the unpacked one.
        path: PathBuf,
        /// What kind of defect it is.
        fault: Fault,
        /// Where in the file, in bytes from its start. In a compressed file the bytes of its content count, unless
        /// the fault is [`DamagedCompression`](Fault::DamagedCompression).
        offset: u64,
        /// What the format demands there.
        expected: String,
        /// What stands there.
        found: String,
    },

    /// An archive holds an entry that a data set never needs: a link, a path that leaves the folder.
    #[error("{}: entry {entry:?} is refused: {reason}; nothing was unpacked, delete the archive and fetch it again from its authors", archive.display())]
    UnsafeArchive {
        /// The archive.
        archive: PathBuf,
        /// The entry's path as the archive spells it.
        entry: String,
        /// Why it is refused.
        reason: &'static str,
    },

    /// Unpacking would write more than the data set's size limit.
    #[error("{}: unpacks to more than {limit} bytes, the limit for this data set; nothing was unpacked, delete it and fetch it again from its authors", path.display())]
    TooLarge {
        /// The compressed file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },

    /// A folder does not hold the data set.
    #[error("{}: no {dataset} here: looked for {}; {advice}", directory.display(), looked_for.join(", "))]
    DatasetNotFound {
        /// The data set's name.
        dataset: &'static str,
        /// The folder that was searched.
        directory: PathBuf,
        /// The names that would have been accepted.
        looked_for: Vec<String>,
        /// How to get it.
        advice: String,
    },

    /// A download failed and can be tried again.
    #[error("{url}: download failed: {reason}; run it again to continue where it stopped")]
    Download {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },

    /// A complete download is not the file that its authors published.
    #[error("{}: MD5 is {found}, expected {expected}; the file was removed, download it again", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The published checksum.
        expected: String,
        /// The file's.
        found: String,
    },

    /// A value that was passed in cannot work.
    #[error("{name} is {found}, expected {expected}")]
    InvalidArgument {
        /// The argument's name.
        name: &'static str,
        /// What was passed.
        found: String,
        /// What would do.
        expected: String,
    },

    /// There is no GPU to use.
    #[error(
        "no GPU: {reason}; see what nvidia-smi lists, and whether the environment variable CUDA_VISIBLE_DEVICES hides it"
    )]
    NoGpu {
        /// Why, in the driver's words.
        reason: String,
    },

    /// A GPU, or the driver, refused.
    #[error("the GPU can't {action}: {reason}")]
    Cuda {
        /// What was tried, as in "can't *load kernels*".
        action: &'static str,
        /// The driver's answer.
        reason: String,
    },

    /// Data or batches do not fit into a GPU's memory.
    #[error("GPU {gpu} has {free} bytes of free memory, but {what} need {needed} bytes; {advice}")]
    GpuMemory {
        /// The GPU's number.
        gpu: usize,
        /// What does not fit.
        what: &'static str,
        /// The bytes that are needed.
        needed: usize,
        /// The bytes that are free.
        free: usize,
        /// What to do about it.
        advice: &'static str,
    },

    /// A GPU does not get on with its work.
    #[error(
        "waited {waited:?} for the GPU to copy a batch; does what was computed before it never end? If it is only slow, raise the stall timeout"
    )]
    GpuStalled {
        /// How long the loader waited.
        waited: Duration,
    },

    /// The memory budget does not hold the batches that were asked for.
    #[error(
        "memory budget is {budget} bytes, but {slots} batch slot(s) for {workers} worker(s) need {needed} bytes; raise the budget, or lower the batch size or the prefetch depth; what a worker needs follows from the largest sample that it may have to decode"
    )]
    BudgetTooSmall {
        /// The budget in bytes.
        budget: usize,
        /// What the slots need in bytes.
        needed: usize,
        /// How many slots were asked for; at least 1.
        slots: usize,
        /// How many workers, each of which has some memory of its own.
        workers: usize,
    },

    /// A source or a user's `map` failed on one sample.
    #[error("sample {index} failed in {stage}: {source}")]
    Sample {
        /// The sample's index in its source.
        index: usize,
        /// Where: `source`, `map`, or `transform` if it was not a loader that applied it.
        stage: &'static str,
        /// The original error.
        source: BoxError,
    },

    /// Code that ran in a worker panicked. The loader itself goes on living.
    #[error("a worker panicked on sample {index}: {message}")]
    WorkerPanic {
        /// The sample it worked on.
        index: usize,
        /// The panic's message.
        message: String,
    },

    /// The source panicked where no one sample is to blame. The loader itself goes on living.
    #[error("the source panicked in {call}: {message}")]
    SourcePanic {
        /// Which of its methods, as in `verify`.
        call: &'static str,
        /// The panic's message.
        message: String,
    },

    /// The consumer kept every batch, so that there is no memory left for the next one.
    #[error(
        "all {slots} batch slots were still held by batches that were not dropped after {waited:?}; copy what you keep, or raise the prefetch depth and the memory budget"
    )]
    SlotsHeld {
        /// The number of slots.
        slots: usize,
        /// How long the loader waited.
        waited: Duration,
    },

    /// Workers did not finish a batch in time: a source or a `map` that takes very long, or never returns.
    #[error(
        "waited {waited:?} for step {step} of epoch {epoch}, which no worker has finished; is the source or the map stuck? If it is only slow, raise the stall timeout or lower the batch size"
    )]
    Stalled {
        /// The epoch of the batch.
        epoch: u64,
        /// Its step within the epoch.
        step: usize,
        /// How long the consumer waited.
        waited: Duration,
    },

    /// More samples failed than the loader was told to let pass.
    #[error(
        "more than {at_most} samples failed, which is as many as were to be let pass; the first one too many: {last}; see to the data, or let more pass"
    )]
    TooManyFailures {
        /// How many were let pass, over the loader's whole life.
        at_most: usize,
        /// What happened to the first one too many.
        last: String,
    },

    /// A state to resume from belongs to other data, or to another way of going through them.
    #[error(
        "the state to resume from has another {what}: \"{saved}\" was saved, and \"{found}\" is what this loader has; resume with what the state was saved with, or start anew"
    )]
    ForeignState {
        /// What differs.
        what: &'static str,
        /// What the state says.
        saved: String,
        /// What the loader has.
        found: String,
    },

    /// A loader that was resumed is read from somewhere else.
    #[error(
        "the loader was resumed at step {step} of epoch {epoch}, but epoch {found} was asked for; begin with the epoch that the state names"
    )]
    NotResumed {
        /// The epoch to begin with.
        epoch: u64,
        /// The step there.
        step: usize,
        /// The epoch that was asked for.
        found: u64,
    },

    /// A picture can't be decoded.
    #[error("{}{}: the picture can't be decoded: {reason}; repair it or remove it, or let the loader skip or replace it", path.display(), entry.as_ref().map(ToString::to_string).unwrap_or_default())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Where it lies in the file, if that is an archive.
        entry: Option<ArchiveEntry>,
        /// Why, in words.
        reason: String,
    },

    /// candle refused to make a tensor.
    #[cfg(feature = "candle")]
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
}

/// The kinds of defect a data file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The file has no bytes at all.
    Empty,
    /// The file is shorter or longer than its format or header says.
    WrongLength,
    /// The first bytes name another format or element type.
    WrongMagic,
    /// The header is no header: it was damaged, or written by a program that has it wrong.
    DamagedHeader,
    /// An array has elements of another type, or in another order.
    WrongType,
    /// The header's dimensions are not those of pictures or labels.
    WrongDimensions,
    /// A label is not below the number of classes.
    LabelOutOfRange,
    /// Images and labels differ in number, or a file does not hold as many samples as the data set has.
    WrongCount,
    /// It is sound, but another data set's, or an archive that lacks a file of this one.
    OtherDataset,
    /// It is no cache of this source: another source's, damaged, or no cache at all.
    OtherCache,
    /// The compressed stream is damaged.
    DamagedCompression,
    /// The file was written to or cut off while it was in use.
    Changed,
    /// It is a folder or a device where a file must be.
    NotAFile,
    /// It is a file where a folder must be.
    NotAFolder,
    /// A folder has no sub-folders to be the classes.
    NoClasses,
    /// There is no picture where some must be.
    NoPictures,
    /// A class isn't one of those that are known, or can't be a class.
    UnknownClass,
    /// An archive is compressed as a whole.
    Compressed,
    /// An archive is cut off or damaged, or is none.
    DamagedArchive,
    /// A sample in an archive lacks its picture or its class, or has several.
    UnsoundSample,
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Its path in the archive.
    pub name: String,
    /// Where its content begins, in bytes from the start of the archive.
    pub offset: u64,
}

impl std::fmt::Display for ArchiveEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ": {} at byte {}", self.name, self.offset)
    }
}

impl Fault {
    /// Where in the file, if it is one.
    fn place(self, offset: u64) -> String {
        match self {
            Self::NotAFile
            | Self::NotAFolder
            | Self::NoClasses
            | Self::NoPictures
            | Self::UnknownClass => String::new(),
            _ => format!(" at byte {offset}"),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Empty | Self::WrongLength | Self::DamagedCompression => {
                "it may be a download that was cut off: delete it and fetch it again"
            }
            Self::WrongMagic | Self::WrongDimensions => "is it a file of this data set?",
            Self::DamagedHeader => "write it again with numpy.save",
            Self::WrongType => "convert the array and save it again",
            Self::LabelOutOfRange => "is the number of classes right, and is it this data set?",
            Self::WrongCount => "is it the whole set, and do its files belong together?",
            Self::Changed => {
                "open it again, and let nobody write to it meanwhile or read it with Access::Copied"
            }
            Self::OtherDataset => {
                "is it a file of this data set? sets whose files have the same names need folders of their own"
            }
            Self::OtherCache => {
                "delete it, and it is made anew, or name another file for this source's cache"
            }
            Self::NotAFile => "name the file itself",
            Self::NotAFolder => "name the folder that it lies in",
            Self::NoClasses => "move the pictures of each class into a folder of its own",
            Self::NoPictures => {
                "put some there, convert those of other formats to JPEG or PNG, or remove the folder"
            }
            Self::UnknownClass => "rename it or move it elsewhere",
            Self::Compressed => {
                "unpack it first (gunzip, bunzip2, unxz, unzstd): only what is plain can be read in any order"
            }
            Self::DamagedArchive => {
                "is it a tar file? if so, it may be a download that was cut off: delete it and fetch it again"
            }
            Self::UnsoundSample => "write the shard again, with a picture and a class for each key",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty file",
            Self::WrongLength => "wrong length",
            Self::WrongMagic => "wrong magic number",
            Self::DamagedHeader => "damaged header",
            Self::WrongType => "wrong type of array",
            Self::WrongDimensions => "wrong dimensions",
            Self::LabelOutOfRange => "label out of range",
            Self::WrongCount => "wrong number of samples",
            Self::OtherDataset => "another data set",
            Self::OtherCache => "not the cache of this source",
            Self::DamagedCompression => "damaged compressed data",
            Self::Changed => "changed while in use",
            Self::NotAFile => "not a regular file",
            Self::NotAFolder => "not a folder",
            Self::NoClasses => "no classes",
            Self::NoPictures => "no pictures",
            Self::UnknownClass => "not a class",
            Self::Compressed => "compressed archive",
            Self::DamagedArchive => "damaged archive",
            Self::UnsoundSample => "unsound sample",
        })
    }
}

/// For `map_err`: an I/O error with its path and what was tried. Nothing is allocated where there is no error.
pub(crate) fn io_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

#[cfg(feature = "cuda")]
impl Error {
    /// Turns a driver's answer to `action` into an error.
    pub fn cuda(action: &'static str) -> impl Fn(cudarc::driver::DriverError) -> Self {
        move |error| Self::Cuda {
            action,
            reason: crate::cuda::describe(error),
        }
    }
}

/// An argument that cannot work.
pub(crate) fn invalid(name: &'static str, found: impl ToString, expected: impl ToString) -> Error {
    Error::InvalidArgument {
        name,
        found: found.to_string(),
        expected: expected.to_string(),
    }
}
