//! One picture that is no sample of a source.

use std::io::Read;
use std::path::Path;

use super::super::mapped_file::open_regular;
use super::decode::Decode;
use crate::error::{Error, Result, io_error};

impl Decode {
    /// The pixels of the picture in a file, as a folder of pictures would have them: of a picture to be classified by what
    /// was trained on such a folder.
    ///
    /// ```no_run
    /// use feedline_pipeline::source::{Decode, InMemory};
    ///
    /// let decode = Decode::rgb(32, 32);
    /// let picture = InMemory::new(decode.shape(), 1, decode.read("bear.jpg")?, vec![0])?;
    /// # let _ = picture;
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file can't be read, [`Error::Malformed`] if it is none, and [`Error::Picture`] if it is no
    /// picture, damaged or too large; [`Error::InvalidArgument`] if this has a side of 0.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        self.check()?;
        let path = path.as_ref();
        let mut bytes = Vec::new();
        open_regular(path)?
            .read_to_end(&mut bytes)
            .map_err(io_error("read it", path))?;
        // Why there is no header, the decoder says.
        let needs = self.header(&bytes).map(|header| self.needs(&header));
        let mut memory = vec![0; self.work(needs.unwrap_or_default().pixels)];
        let mut pixels = vec![0; self.shape().elements()];
        self.decode(&bytes, &mut memory, &mut pixels)
            .map_err(|reason| Error::Picture {
                path: path.to_owned(),
                entry: None,
                reason,
            })?;
        Ok(pixels)
    }
}
