//! Pictures in a folder, which has a sub-folder for each class.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::fingerprint::{self, add};
use super::super::mapped_file::open_regular;
use super::super::{Sample, Shape, Source, sample_error};
use super::decode::{BEGINNING, Decode, Needs};
use super::listing::{Entries, Listing, is_picture};
use crate::error::{Error, Fault, Result, invalid, io_error};

/// Pictures in a folder that has a sub-folder for each class, as torchvision and Keras have it:
///
/// ```text
/// photos/bear/001.jpg
/// photos/bear/in-the-snow/001.png
/// photos/lynx/a.jpeg
/// ```
///
/// Classes are the sub-folders by name, in the order of bytes, so that they have the same numbers on every machine.
/// Samples follow each other class after class; in each the files of a folder by name, then those of the folders in it.
/// What is hidden (its name begins with a dot) is left out, and so are files whose names don't end in `.jpg`, `.jpeg`,
/// `.jpe`, `.jfif` or `.png`, in capitals or not; a warning says how many. Links are followed, into each folder once.
///
/// The pictures are looked for once, when the folder is opened, and of each the first bytes are read, to know how much
/// memory the largest needs. They are decoded when they are read, in the loader's workers. A picture that is damaged, or
/// goes away later, is an error of its sample, so that a loader can [skip or replace](crate::OnError) it.
///
/// ```
/// use feedline_pipeline::source::{Decode, ImageFolder};
/// use feedline_pipeline::{Loader, Source};
///
/// # let photos = tempfile::tempdir()?;
/// # let photos = photos.path();
/// # for (class, grey) in [("bear", 50), ("lynx", 200)] {
/// #     std::fs::create_dir(photos.join(class))?;
/// #     let picture = image::GrayImage::from_pixel(8, 6, image::Luma([grey]));
/// #     picture.save(photos.join(class).join("1.png"))?;
/// # }
/// let folder = ImageFolder::open(photos, Decode::rgb(32, 32))?;
/// assert_eq!(folder.class_names(), ["bear", "lynx"]);
/// assert_eq!(folder.label(1)?, 1);
///
/// let mut loader = Loader::builder(folder).batch_size(2).shuffle(true).build()?;
/// for batch in loader.epoch(0) {
///     assert_eq!(batch?.shape().to_string(), "3x32x32");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ImageFolder {
    root: PathBuf,
    decode: Decode,
    class_names: Vec<String>,
    /// Folders, relative to the root, and the class of what lies there.
    folders: Vec<(PathBuf, u32)>,
    files: Vec<PictureFile>,
    needs: Needs,
    /// Bytes of the largest file.
    longest: usize,
}

/// Millions of them are held.
#[derive(Debug)]
struct PictureFile {
    folder: u32,
    name: Box<OsStr>,
    /// Bytes when the folder was opened; 0 if that is not known.
    length: u64,
}

impl ImageFolder {
    /// The pictures in the sub-folders of `root`, each of which is a class.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a folder can't be listed; [`Error::Malformed`] if `root` is no folder, if there are no
    /// sub-folders, or if one has no pictures or a name that is not UTF-8; [`Error::InvalidArgument`] if `decode` has a
    /// side of 0.
    pub fn open(root: impl AsRef<Path>, decode: Decode) -> Result<Self> {
        let root = root.as_ref();
        let names = class_folders(root)?;
        let folder = Self::read(root, decode, names)?;
        let mut counts = vec![0; folder.class_names.len()];
        for file in &folder.files {
            counts[folder.folders[file.folder as usize].1 as usize] += 1;
        }
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            let name = &folder.class_names[class];
            return Err(malformed(
                &root.join(name),
                Fault::NoPictures,
                "JPEG or PNG pictures of this class",
                "none, by their names",
            ));
        }
        Ok(folder)
    }

    /// As [`open`](Self::open), but classes are numbered as in `class_names`, such as another folder's: pictures to
    /// validate with need the labels of those to train with, even if some class has none there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but classes without pictures, or without a folder, are none;
    /// [`Error::Malformed`] if a sub-folder is no such class or there is no picture at all, and
    /// [`Error::InvalidArgument`] if a name comes twice in `class_names`.
    pub fn open_with_classes(
        root: impl AsRef<Path>,
        decode: Decode,
        class_names: &[impl AsRef<str>],
    ) -> Result<Self> {
        let root = root.as_ref();
        let names: Vec<String> = class_names
            .iter()
            .map(|name| name.as_ref().to_owned())
            .collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(invalid(
                    "class_names",
                    format!("a list with {name:?} twice"),
                    "a name for each class",
                ));
            }
        }
        for found in class_folders(root)? {
            if !names.contains(&found) {
                return Err(malformed(
                    &root.join(&found),
                    Fault::UnknownClass,
                    format!("a folder for one of the {} classes given", names.len()),
                    format!("{found:?}"),
                ));
            }
        }
        let folder = Self::read(root, decode, names)?;
        if folder.files.is_empty() {
            return Err(malformed(
                root,
                Fault::NoPictures,
                "JPEG or PNG pictures in its sub-folders",
                "none, by their names",
            ));
        }
        Ok(folder)
    }

    fn read(root: &Path, decode: Decode, class_names: Vec<String>) -> Result<Self> {
        decode.check()?;
        let mut source = Self {
            root: root.to_owned(),
            decode,
            class_names,
            folders: Vec::new(),
            files: Vec::new(),
            needs: Needs::default(),
            longest: 0,
        };
        let mut others = 0;
        for (class, name) in source.class_names.iter().enumerate() {
            if !root.join(name).is_dir() {
                continue;
            }
            let listing = Listing::read(&root.join(name))?;
            let first = source.folders.len();
            others += listing.others;
            source.folders.extend(
                listing
                    .folders
                    .iter()
                    .map(|folder| (Path::new(name).join(folder), class as u32)),
            );
            for (folder, name) in listing.names {
                source.files.push(PictureFile {
                    folder: (first + folder) as u32,
                    name: name.into_boxed_os_str(),
                    length: 0,
                });
            }
        }
        if others > 0 {
            tracing::warn!(
                target: "feedline_pipeline",
                "{}: {others} file(s) are left out, as their names don't end in .jpg, .jpeg or .png",
                root.display()
            );
        }
        source.look_at_files();
        Ok(source)
    }

    /// Learns how long each file is, and how much memory pictures need. What can't be read will be an error of its
    /// sample.
    fn look_at_files(&mut self) {
        let mut beginning = Vec::new();
        for index in 0..self.files.len() {
            let path = self.path(index);
            let Ok((length, needs)) = look_at(&path, &self.decode, &mut beginning) else {
                continue;
            };
            self.files[index].length = length;
            // What has no header won't be decoded, however long it is: its beginning is enough.
            let part = match needs.pixels {
                0 => length.min(BEGINNING),
                _ => length,
            };
            self.longest = self.longest.max(usize::try_from(part).unwrap_or(0));
            self.needs = self.needs.max(needs);
        }
    }

    /// The classes' names, in the order of their labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The file of sample `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`len`](Source::len).
    pub fn path(&self, index: usize) -> PathBuf {
        let file = &self.files[index];
        let mut path = self.root.join(&self.folders[file.folder as usize].0);
        path.push(&*file.name);
        path
    }

    fn class(&self, index: usize) -> u32 {
        self.folders[self.files[index].folder as usize].1
    }

    /// Reads the file of a sample into `memory`; as much as there is room for, if it has no header.
    fn read_file<'a>(&self, index: usize, path: &Path, memory: &'a mut [u8]) -> Result<&'a [u8]> {
        let _span = tracing::trace_span!(target: "feedline_pipeline", "open").entered();
        let length = self.files[index].length;
        let mut file = open_regular(path)?;
        let metadata = file
            .metadata()
            .map_err(io_error("read the size of it", path))?;
        let changed = |found: u64| Error::Malformed {
            path: path.to_owned(),
            fault: Fault::Changed,
            offset: found.min(length),
            expected: format!("{length} bytes, as when its folder was opened"),
            found: found.to_string(),
        };
        if metadata.len() != length {
            return Err(changed(metadata.len()));
        }
        let part = memory.len().min(length as usize);
        let bytes = &mut memory[..part];
        file.read_exact(bytes).map_err(io_error("read it", path))?;
        Ok(bytes)
    }
}

/// The names of the sub-folders of `root`, sorted.
fn class_folders(root: &Path) -> Result<Vec<String>> {
    if root.is_file() {
        return Err(malformed(
            root,
            Fault::NotAFolder,
            "a folder with a sub-folder for each class",
            "a file",
        ));
    }
    let entries = Entries::read(root)?;
    if entries.folders.is_empty() {
        let pictures = entries.files.iter().filter(|name| is_picture(name)).count();
        return Err(malformed(
            root,
            Fault::NoClasses,
            "a sub-folder for each class, with its pictures in it",
            format!("no sub-folder, and {pictures} picture(s)"),
        ));
    }
    let name = |name: std::ffi::OsString| {
        name.into_string().map_err(|name| {
            malformed(
                &root.join(&name),
                Fault::UnknownClass,
                "a folder whose name is UTF-8, as it names a class",
                format!("{name:?}"),
            )
        })
    };
    entries.folders.into_iter().map(name).collect()
}

fn malformed(
    path: &Path,
    fault: Fault,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        fault,
        offset: 0,
        expected: expected.into(),
        found: found.into(),
    }
}

/// The length of a file, and what its picture needs.
fn look_at(path: &Path, decode: &Decode, beginning: &mut Vec<u8>) -> Result<(u64, Needs)> {
    let mut file = open_regular(path)?;
    let length = file.metadata().map_err(io_error("read it", path))?.len();
    let known = usize::try_from(length).unwrap_or(usize::MAX);
    let needs = decode.look_at(known, beginning, |part, beginning| {
        let mut part = Read::by_ref(&mut file).take(part.len() as u64);
        part.read_to_end(beginning)
            .map_err(io_error("read it", path))?;
        Ok(())
    })?;
    Ok((length, needs))
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn shape(&self) -> Shape {
        self.decode.shape()
    }

    fn classes(&self) -> usize {
        self.class_names.len()
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let [output, file, work] = self.decode.split(scratch, self.longest, self.needs.pixels);
        let path = self.path(index);
        let bytes = self
            .read_file(index, &path, file)
            .map_err(sample_error(index))?;
        let span = tracing::trace_span!(target: "feedline_pipeline", "decode").entered();
        self.decode.decode(bytes, work, output).map_err(|reason| {
            let entry = None;
            sample_error(index)(Error::Picture {
                path,
                entry,
                reason,
            })
        })?;
        drop(span);
        Ok(Sample {
            pixels: output,
            label: self.class(index),
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        Ok(self.class(index))
    }

    /// Room for the largest file and its pixels, before and after resizing, and what the decoder and the resizer take
    /// for themselves, as follows from the pictures' headers. Not counted are the decoder's tables and a picture's
    /// metadata, up to some 100 KiB.
    fn scratch_bytes(&self) -> usize {
        self.needs.scratch_bytes(&self.decode, self.longest)
    }

    /// Follows from what pictures become, the classes, and the names and lengths of all files, and what is in 64 of
    /// them; but not from when they were written: a copy of a folder is the same data.
    fn fingerprint(&self) -> Result<u64> {
        let mut hash = self.decode.numbers().into_iter().fold(0, add);
        for name in &self.class_names {
            hash = fingerprint::add_bytes(hash, name.as_bytes());
        }
        for file in &self.files {
            let folder = &self.folders[file.folder as usize].0;
            hash = fingerprint::add_bytes(hash, folder.as_os_str().as_encoded_bytes());
            hash = fingerprint::add_bytes(hash, file.name.as_encoded_bytes());
            hash = add(hash, file.length);
        }
        Ok(fingerprint::add_files(hash, self.len(), |index| {
            let path = self.path(index);
            let mut memory = vec![0; (self.files[index].length as usize).min(self.longest)];
            Ok(self.read_file(index, &path, &mut memory)?.to_vec())
        }))
    }
}
