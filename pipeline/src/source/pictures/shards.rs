//! Pictures in tar files.

use std::ops::Range;
use std::path::Path;

use super::super::fingerprint::{self, add};
use super::super::mapped_file::{Access, FileBytes};
use super::super::{Sample, Shape, Source, sample_error};
use super::braces::expand;
use super::decode::{BEGINNING, Decode, Needs};
use super::tar_index::{TarIndex, shown};
use crate::error::{ArchiveEntry, Error, Result, invalid};

/// Pictures in tar files, named as WebDataset has it: files that belong to one sample follow one key, which is the name
/// up to the first dot of its last part.
///
/// ```text
/// train/0001.jpg    the picture: .jpg, .jpeg, .jpe, .jfif or .png, in capitals or not
/// train/0001.cls    its class, as a decimal number
/// train/0001.json   anything else is left out
/// ```
///
/// The files are mapped, and gone through once when they are opened; from then on each picture can be reached as fast as
/// any other, so that they are shuffled like all data: no buffer, and not only within a shard. Samples come in the order
/// of the shards as given, and in a shard in that of the pictures. Pictures are decoded when they are read, in the
/// loader's workers; one that is damaged is an error of its sample, so that a loader can
/// [skip or replace](crate::OnError) it. For sets larger than memory, a loader's `shuffle_blocks` reads the files
/// piece by piece from front to back.
///
/// Each shard is held open. A system that allows few open files (`ulimit -n`) limits their number.
///
/// ```
/// use feedline_pipeline::source::{Decode, TarShards};
/// use feedline_pipeline::Source;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// # let mut picture = Vec::new();
/// # let pixels = image::GrayImage::from_pixel(2, 2, image::Luma([7]));
/// # pixels.write_to(&mut std::io::Cursor::new(&mut picture), image::ImageFormat::Png)?;
/// # for shard in 0..2 {
/// #     let file = std::fs::File::create(folder.join(format!("train-{shard:03}.tar")))?;
/// #     let mut tar = tar::Builder::new(file);
/// #     for (name, content) in [("a.png", &picture[..]), ("a.cls", b"3")] {
/// #         let mut header = tar::Header::new_ustar();
/// #         header.set_size(content.len() as u64);
/// #         header.set_mode(0o644);
/// #         tar.append_data(&mut header, name, content)?;
/// #     }
/// #     tar.finish()?;
/// # }
/// let shards = TarShards::open([folder.join("train-{000..001}.tar")], Decode::grey(2, 2))?;
/// assert_eq!((shards.len(), shards.label(1)?), (2, 3));
/// // By default as many as the highest class has it; say so if there are more.
/// assert_eq!(shards.classes(), 4);
/// let shards = shards.with_classes(10)?;
/// assert_eq!(shards.classes(), 10);
/// assert_eq!(shards.sample(1, &mut Vec::new())?.pixels, [7, 7, 7, 7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TarShards {
    decode: Decode,
    shards: Vec<Shard>,
    classes: usize,
    needs: Needs,
    /// Bytes of the largest picture that is not lent from memory.
    longest: usize,
}

#[derive(Debug)]
struct Shard {
    file: FileBytes,
    index: TarIndex,
    /// The number of its first sample among those of all shards.
    first: usize,
}

impl Shard {
    fn samples(&self) -> Range<usize> {
        self.first..self.first + self.index.pictures.len()
    }
}

impl TarShards {
    /// The pictures in the tar files at `paths`. A range of numbers in braces stands for many files:
    /// `train-{000..012}.tar` for thirteen.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file can't be opened; [`Error::Malformed`] if one is empty, compressed, cut off or no tar file,
    /// or if a sample has no picture, no class or several of one; [`Error::InvalidArgument`] if there is no path, a
    /// range makes no sense, or `decode` has a side of 0.
    pub fn open(paths: impl IntoIterator<Item = impl AsRef<Path>>, decode: Decode) -> Result<Self> {
        Self::open_with(paths, decode, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
        decode: Decode,
        access: Access,
    ) -> Result<Self> {
        decode.check()?;
        let mut source = Self {
            decode,
            shards: Vec::new(),
            classes: 0,
            needs: Needs::default(),
            longest: 0,
        };
        for paths in paths {
            for path in expand(paths.as_ref())? {
                source.add(FileBytes::open(&path, access)?)?;
            }
        }
        if source.shards.is_empty() {
            return Err(invalid("paths", "an empty list", "at least one tar file"));
        }
        Ok(source)
    }

    /// Says that there are more classes than the highest label has it, as in a set that lacks some.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are fewer.
    pub fn with_classes(mut self, classes: usize) -> Result<Self> {
        let highest = self
            .shards
            .iter()
            .flat_map(|shard| &shard.index.pictures)
            .map(|picture| picture.label as usize)
            .max();
        if let Some(highest) = highest.filter(|&highest| highest >= classes) {
            let expected = format!("more than {highest}, which is a sample's class");
            return Err(invalid("classes", classes, expected));
        }
        self.classes = classes;
        Ok(self)
    }

    fn add(&mut self, file: FileBytes) -> Result<()> {
        let index = TarIndex::read(&file)?;
        let mut beginning = Vec::new();
        let mut scratch = Vec::new();
        for picture in &index.pictures {
            let start = picture.start as usize;
            let needs = self.decode.look_at(
                picture.length as usize,
                &mut beginning,
                |part, beginning| {
                    let part = start + part.start..start + part.end;
                    beginning.extend_from_slice(file.get(part, &mut scratch)?);
                    Ok(())
                },
            )?;
            self.needs = self.needs.max(needs);
            self.classes = self.classes.max(picture.label as usize + 1);
            if !file.lends() {
                // What has no header won't be decoded, however long it is: its beginning is enough.
                let part = match needs.pixels {
                    0 => picture.length.min(BEGINNING),
                    _ => picture.length,
                };
                self.longest = self.longest.max(part as usize);
            }
        }
        // What was looked at would stay in this process' memory.
        file.done_with(0..file.len());
        let first = self.len();
        self.shards.push(Shard { file, index, first });
        Ok(())
    }

    /// The shard that has a sample, and the sample's number there.
    fn find(&self, index: usize) -> (&Shard, usize) {
        let behind = self.shards.partition_point(|shard| shard.first <= index);
        let shard = &self.shards[behind - 1];
        (shard, index - shard.first)
    }

    /// Tells `hint` where some samples lie. As they come with a hint, they may be too many.
    fn places(&self, samples: Range<usize>, hint: impl Fn(&FileBytes, Range<usize>)) {
        let behind = self
            .shards
            .partition_point(|shard| shard.samples().end <= samples.start);
        for shard in &self.shards[behind..] {
            let all = shard.samples();
            let part = samples.start.max(all.start)..samples.end.min(all.end);
            if part.is_empty() {
                break;
            }
            let pictures = &shard.index.pictures[part.start - all.start..part.end - all.start];
            if let [first, .., last] | [first @ last] = pictures {
                hint(&shard.file, first.bytes().start..last.bytes().end);
            }
        }
    }
}

impl Source for TarShards {
    fn len(&self) -> usize {
        self.shards.last().map_or(0, |shard| shard.samples().end)
    }

    fn shape(&self) -> Shape {
        self.decode.shape()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let (shard, number) = self.find(index);
        let picture = &shard.index.pictures[number];
        let [output, file, work] = self.decode.split(scratch, self.longest, self.needs.pixels);
        let span = tracing::trace_span!(target: "feedline_pipeline", "open").entered();
        let bytes = shard
            .file
            .get_in(picture.bytes(), file)
            .map_err(sample_error(index))?;
        drop(span);
        let span = tracing::trace_span!(target: "feedline_pipeline", "decode").entered();
        self.decode.decode(bytes, work, output).map_err(|reason| {
            sample_error(index)(Error::Picture {
                path: shard.file.path().to_owned(),
                entry: Some(ArchiveEntry {
                    name: shown(shard.index.name(number)),
                    offset: picture.start,
                }),
                reason,
            })
        })?;
        drop(span);
        Ok(Sample {
            pixels: output,
            label: picture.label,
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        let (shard, number) = self.find(index);
        Ok(shard.index.pictures[number].label)
    }

    /// Room for the pixels of the largest picture, before and after resizing, for its file if that is not mapped, and
    /// what the decoder and the resizer take for themselves, as follows from the pictures' headers. Not counted are the
    /// decoder's tables and a picture's metadata, up to some 100 KiB.
    fn scratch_bytes(&self) -> usize {
        self.needs.scratch_bytes(&self.decode, self.longest)
    }

    /// Follows from what pictures become, the names, labels and lengths of all pictures, and the files of 64 of them.
    fn fingerprint(&self) -> Result<u64> {
        let mut hash = self.decode.numbers().into_iter().fold(0, add);
        hash = add(hash, self.classes as u64);
        for shard in &self.shards {
            for (number, picture) in shard.index.pictures.iter().enumerate() {
                hash = fingerprint::add_bytes(hash, shard.index.name(number));
                hash = add(hash, picture.length);
                hash = add(hash, u64::from(picture.label));
            }
        }
        let mut scratch = Vec::new();
        Ok(fingerprint::add_files(hash, self.len(), |index| {
            let (shard, number) = self.find(index);
            let bytes = shard.index.pictures[number].bytes();
            Ok(shard.file.get(bytes, &mut scratch)?.to_vec())
        }))
    }

    fn verify(&self) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.file.verify())
    }

    fn prefetch(&self, index: usize) {
        let (shard, number) = self.find(index);
        shard.file.prefetch(shard.index.pictures[number].bytes());
    }

    fn will_need(&self, samples: Range<usize>) {
        self.places(samples, FileBytes::will_need);
    }

    fn done_with(&self, samples: Range<usize>) {
        self.places(samples, FileBytes::done_with);
    }
}
