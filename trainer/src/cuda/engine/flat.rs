//! How a network's numbers lie in one buffer of the device.

use std::ops::Range;

/// Every parameter begins at a multiple of this many numbers: the libraries load 16 bytes at once, also of 16 bits each.
const ALIGNMENT: usize = 8;

/// The places of parameters, which are in the same order as on the host. Between them may be numbers that are always 0.
#[derive(Debug, Default)]
pub(super) struct Flat {
    parameters: Vec<Parameter>,
    host: usize,
    device: usize,
}

#[derive(Debug)]
struct Parameter {
    host: Range<usize>,
    device: Range<usize>,
    /// Filters, channels, and pixels of a filter, if it is those of a convolution: channel after channel on the host,
    /// pixel after pixel on the device.
    filters: Option<[usize; 3]>,
}

impl Flat {
    /// Adds a parameter: where it lies on the device.
    pub(super) fn add(&mut self, length: usize, filters: Option<[usize; 3]>) -> Range<usize> {
        let device = self.device..self.device + length;
        self.parameters.push(Parameter {
            host: self.host..self.host + length,
            device: device.clone(),
            filters,
        });
        self.host += length;
        self.device = device.end.next_multiple_of(ALIGNMENT);
        device
    }

    /// How many numbers there are on the host.
    pub(super) fn host_len(&self) -> usize {
        self.host
    }

    /// How many numbers there are on the device.
    pub(super) fn len(&self) -> usize {
        self.device
    }

    /// How many numbers each parameter has on the device, with those behind it that are always 0.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        let starts = self.parameters.iter().map(|own| own.device.start);
        let ends = starts.clone().skip(1).chain([self.device]);
        starts.zip(ends).map(|(start, end)| end - start)
    }

    /// From the order of the host to that of the device.
    pub(super) fn to_device(&self, host: &[f32]) -> Vec<f32> {
        let mut device = vec![0.0; self.device];
        for own in &self.parameters {
            let (from, to) = (&host[own.host.clone()], &mut device[own.device.clone()]);
            match own.filters {
                None => to.copy_from_slice(from),
                Some([_, channels, pixels]) => transpose([channels, pixels], from, to),
            }
        }
        device
    }

    /// The opposite of [`to_device`](Self::to_device).
    pub(super) fn to_host(&self, device: &[f32]) -> Vec<f32> {
        let mut host = vec![0.0; self.host];
        for own in &self.parameters {
            let (from, to) = (&device[own.device.clone()], &mut host[own.host.clone()]);
            match own.filters {
                None => to.copy_from_slice(from),
                Some([_, channels, pixels]) => transpose([pixels, channels], from, to),
            }
        }
        host
    }
}

/// Transposes matrices that lie one after the other.
fn transpose([lines, columns]: [usize; 2], from: &[f32], to: &mut [f32]) {
    let area = lines * columns;
    for (from, to) in from.chunks_exact(area).zip(to.chunks_exact_mut(area)) {
        for (place, number) in to.iter_mut().enumerate() {
            *number = from[place % lines * columns + place / lines];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_turned_and_turned_back() {
        let mut flat = Flat::default();
        assert_eq!(flat.add(12, Some([2, 3, 2])), 0..12);
        assert_eq!(flat.add(3, None), 16..19);
        assert_eq!(flat.add(1, None), 24..25);
        let host: Vec<f32> = (0..16).map(|number| number as f32).collect();
        let device = flat.to_device(&host);
        let filters = [0., 2., 4., 1., 3., 5., 6., 8., 10., 7., 9., 11.];
        assert_eq!(device[..12], filters);
        assert_eq!(
            device[12..],
            [
                0., 0., 0., 0., 12., 13., 14., 0., 0., 0., 0., 0., 15., 0., 0., 0., 0., 0., 0., 0.
            ]
        );
        assert_eq!((flat.host_len(), flat.len()), (16, 32));
        assert!(flat.lengths().eq([16, 8, 8]));
        assert_eq!(flat.to_host(&device), host);
    }
}
