//! The gradients that a max-pool lets through to the output of a convolution, in lists.

use super::pool;
use super::shape::{Convolution, Pool};
use super::{BLOCK, Isa, Kernel, Vector, run};

/// The gradients of one picture that are not 0: at most one for each output of the pool. Serves picture after picture
/// without allocating.
#[derive(Debug)]
pub(crate) struct Entries {
    shape: Convolution,
    pool: Pool,
    rectify: bool,
    /// For each output pixel of the pool, and each place in its window (as many as a power of two), where it is. A place
    /// beyond the edge, which [`pool::forward`] does not return, is another one of the window.
    targets: Vec<Target>,
    by_filter: Lists,
    by_pixel: Option<Lists>,
}

/// A pixel of the convolution's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    pixel: u32,
    /// Where its window begins in the convolution's input.
    window: u32,
}

/// Lists of gradients, each with an offset.
#[derive(Debug)]
struct Lists {
    /// How far the lists lie apart.
    capacity: usize,
    /// Where each list ends: list `i` begins at `i · capacity`.
    ends: Vec<u32>,
    offsets: Vec<u32>,
    gradients: Vec<f32>,
}

impl Lists {
    fn new(count: usize, capacity: usize) -> Self {
        let len = count * capacity;
        assert!(u32::try_from(len).is_ok());
        Self {
            capacity,
            ends: vec![0; count],
            offsets: vec![0; len],
            gradients: vec![0.0; len],
        }
    }

    /// Begins anew.
    fn clear(&mut self) -> Writer {
        for (list, end) in self.ends.iter_mut().enumerate() {
            *end = (list * self.capacity) as u32;
        }
        Writer {
            ends: self.ends.as_mut_ptr(),
            offsets: self.offsets.as_mut_ptr(),
            gradients: self.gradients.as_mut_ptr(),
        }
    }

    fn get(&self, list: usize) -> List<'_> {
        let range = list * self.capacity..self.ends[list] as usize;
        List {
            offsets: &self.offsets[range.clone()],
            gradients: &self.gradients[range],
        }
    }
}

/// Writes to lists, which it points to.
#[derive(Debug, Clone, Copy)]
struct Writer {
    ends: *mut u32,
    offsets: *mut u32,
    gradients: *mut f32,
}

impl Writer {
    /// Adds an entry to a list, unless the gradient's bits are 0. Without a branch, since nothing could predict it.
    ///
    /// # Safety
    ///
    /// The lists are there and not otherwise borrowed. There is such a list, and it has room.
    #[inline(always)]
    unsafe fn push(self, list: usize, offset: u32, gradient: u32) {
        // SAFETY: the caller's.
        unsafe {
            let end = self.ends.add(list);
            let at = *end as usize;
            self.offsets.add(at).write(offset);
            self.gradients.add(at).write(f32::from_bits(gradient));
            *end += u32::from(gradient != 0);
        }
    }
}

/// Gradients, each with an offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) offsets: &'a [u32],
    pub(super) gradients: &'a [f32],
}

impl Entries {
    /// For how many entries there is room.
    pub(crate) fn most(pool: &Pool) -> usize {
        // Windows that a pixel lies in, along each side.
        let reach = pool.window.div_ceil(pool.step);
        pool.input.pixels() * reach * reach * pool.input.channels
    }

    /// For a convolution that goes through a pool, and then through a rectifier if `rectify`. Without `by_pixel`, there
    /// is no [data gradient](super::sparse::data_gradient).
    pub(crate) fn new(shape: &Convolution, pool: &Pool, rectify: bool, by_pixel: bool) -> Self {
        pool::check(pool);
        assert_eq!(pool.input, shape.output);
        let end = |pixels: usize| (pixels - 1) * shape.step + shape.kernel;
        assert!(end(shape.output.height) <= shape.input.height);
        assert!(end(shape.output.width) <= shape.input.width);
        assert!(shape.kernel > 0);
        let filters = shape.output.channels;
        let numbers = (shape.input.len()).max(filters * shape.padded_filter());
        assert!(u32::try_from(numbers).is_ok());
        let targets: Vec<_> = (0..pool.output.pixels())
            .flat_map(|index| targets(shape, pool, index))
            .collect();
        let by_pixel = by_pixel.then(|| {
            let pixels = shape.output.pixels();
            Lists::new(pixels, Self::most(pool) / pixels)
        });
        Self {
            shape: *shape,
            pool: *pool,
            rectify,
            targets,
            by_filter: Lists::new(filters, pool.output.pixels()),
            by_pixel,
        }
    }

    /// Takes the gradients of a picture by the outputs of the pool (after the rectifier) in place of the previous ones.
    pub(crate) fn build(&mut self, isa: Isa, output: &[f32], d_output: &[f32], places: &[u8]) {
        assert_eq!(output.len(), self.pool.output.len());
        assert_eq!(d_output.len(), self.pool.output.len());
        assert_eq!(places.len(), self.pool.output.len());
        let build = Build {
            entries: self,
            output,
            d_output,
            places,
        };
        run(isa, build);
    }

    pub(super) fn shape(&self) -> &Convolution {
        &self.shape
    }

    /// The gradients by the outputs of a filter, with the offsets of their windows in the convolution's input.
    pub(super) fn of_filter(&self, filter: usize) -> List<'_> {
        self.by_filter.get(filter)
    }

    /// The gradients by the outputs at a pixel, with the offsets of their filters in the weights.
    pub(super) fn of_pixel(&self, pixel: usize) -> List<'_> {
        let lists = self.by_pixel.as_ref();
        lists.expect("lists by pixel were asked for").get(pixel)
    }
}

/// The targets of one output pixel of the pool.
fn targets(shape: &Convolution, pool: &Pool, index: usize) -> Vec<Target> {
    let (y, x) = (index / pool.output.width, index % pool.output.width);
    let rows = pool::inside(pool.window, y * pool.step, pool.top, pool.input.height);
    let columns = pool::inside(pool.window, x * pool.step, pool.left, pool.input.width);
    let places = (pool.window * pool.window).next_power_of_two();
    let target = |place: usize| {
        let row = (place / pool.window).clamp(rows.start, rows.end - 1);
        let column = (place % pool.window).clamp(columns.start, columns.end - 1);
        let row = y * pool.step + row - pool.top;
        let column = x * pool.step + column - pool.left;
        Target {
            pixel: (row * pool.input.width + column) as u32,
            window: shape.window(row, column) as u32,
        }
    };
    (0..places).map(target).collect()
}

struct Build<'a> {
    entries: &'a mut Entries,
    output: &'a [f32],
    d_output: &'a [f32],
    places: &'a [u8],
}

impl Kernel for Build<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let filter = self.entries.shape.padded_filter();
        let by_filter = self.entries.by_filter.clear();
        let by_pixel = self.entries.by_pixel.as_mut().map(Lists::clear);
        // SAFETY: nothing else borrows the lists. Each output of the pool adds at most one entry to a list: a filter has
        // room for all its outputs, and a pixel for those of all windows around it.
        unsafe {
            if let Some(by_pixel) = by_pixel {
                self.each(|index, target, gradient| {
                    by_filter.push(index, target.window, gradient);
                    by_pixel.push(target.pixel as usize, (index * filter) as u32, gradient);
                });
            } else {
                self.each(|index, target, gradient| {
                    by_filter.push(index, target.window, gradient);
                });
            }
        }
    }
}

impl Build<'_> {
    /// Calls with the filter, the target, and the bits of the gradient that passes the rectifier, of every output.
    #[inline(always)]
    fn each(&self, mut with: impl FnMut(usize, Target, u32)) {
        let Entries {
            shape,
            pool,
            rectify,
            targets,
            ..
        } = &*self.entries;
        let stride = pool.output.stride;
        let pixels = (self.output.chunks_exact(stride))
            .zip(self.d_output.chunks_exact(stride))
            .zip(self.places.chunks_exact(stride))
            .zip(targets.chunks_exact(targets.len() / pool.output.pixels()));
        for (((output, d_output), places), targets) in pixels {
            let blocks = (output.as_chunks::<BLOCK>().0.iter())
                .zip(d_output.as_chunks::<BLOCK>().0)
                .zip(places.as_chunks::<BLOCK>().0);
            for (block, ((output, d_output), places)) in blocks.enumerate() {
                let mut gradients = [0; BLOCK];
                for lane in 0..BLOCK {
                    let passes = !rectify | (output[lane] > 0.0);
                    gradients[lane] = d_output[lane].to_bits() & pool::mask(passes);
                }
                let first = block * BLOCK;
                let count = shape.output.channels.saturating_sub(first);
                for lane in 0..BLOCK.min(count) {
                    let place = usize::from(places[lane]) & (targets.len() - 1);
                    with(first + lane, targets[place], gradients[lane]);
                }
            }
        }
    }
}
