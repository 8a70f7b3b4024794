//! How a picture of any size becomes one of a fixed size.

/// How a picture whose sides are in another proportion is made to fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// Made just large enough to cover all, and cut off evenly on both sides: nothing is distorted and nothing is
    /// empty, but what is near the longer edges is lost. What most training does, so it is the default.
    #[default]
    Cover,
    /// Each side made as long as it should be: nothing is lost, but what is round becomes oval.
    Stretch,
    /// Made just small enough to be in it whole, in the middle of black: nothing is lost or distorted, but the network
    /// has less to see.
    Contain,
}

/// Which part of a picture goes where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    /// Width and height of the part in the picture's middle that is used, in the picture's pixels.
    pub(super) used: (f64, f64),
    /// Width and height of what that becomes.
    pub(super) size: (usize, usize),
    /// Columns and rows of black before it.
    pub(super) margin: (usize, usize),
}

impl Fit {
    /// For a picture of `from` and a result of `to`: width and height, at least 1.
    pub(super) fn place(self, from: (usize, usize), to: (usize, usize)) -> Placement {
        let ([from_width, from_height], [to_width, to_height]) = (
            [from.0, from.1].map(|side| side as f64),
            [to.0, to.1].map(|side| side as f64),
        );
        // In whole numbers, so that equal proportions are seen to be equal.
        let too_wide = from.0 as u128 * to.1 as u128;
        let too_high = from.1 as u128 * to.0 as u128;
        let mut placement = Placement {
            used: (from_width, from_height),
            size: to,
            margin: (0, 0),
        };
        match self {
            Self::Stretch => {}
            Self::Cover if too_wide > too_high => {
                placement.used.0 = from_height * to_width / to_height;
            }
            Self::Cover => placement.used.1 = from_width * to_height / to_width,
            Self::Contain if too_wide > too_high => {
                let height = from_height * to_width / from_width;
                placement.size.1 = (height.round() as usize).clamp(1, to.1);
                placement.margin.1 = (to.1 - placement.size.1) / 2;
            }
            Self::Contain => {
                let width = from_width * to_height / from_height;
                placement.size.0 = (width.round() as usize).clamp(1, to.0);
                placement.margin.0 = (to.0 - placement.size.0) / 2;
            }
        }
        placement
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_shown_is_as_large_as_can_be_and_in_the_middle(
            from in (1usize..3000, 1usize..3000),
            to in (1usize..500, 1usize..500),
        ) {
            let ratios = [to.0 as f64 / from.0 as f64, to.1 as f64 / from.1 as f64];
            // A pixel of the picture becomes so many pixels wide and high.
            let cover = ratios[0].max(ratios[1]);
            let placed = Fit::Cover.place(from, to);
            prop_assert_eq!((placed.size, placed.margin), (to, (0, 0)));
            prop_assert!((placed.used.0 * cover - to.0 as f64).abs() < 1e-6);
            prop_assert!((placed.used.1 * cover - to.1 as f64).abs() < 1e-6);
            prop_assert!(placed.used.0 <= from.0 as f64 && placed.used.1 <= from.1 as f64);

            let contain = ratios[0].min(ratios[1]);
            let placed = Fit::Contain.place(from, to);
            prop_assert_eq!(placed.used, (from.0 as f64, from.1 as f64));
            for (size, (from, (to, margin))) in [
                (placed.size.0, (from.0, (to.0, placed.margin.0))),
                (placed.size.1, (from.1, (to.1, placed.margin.1))),
            ] {
                let exact = from as f64 * contain;
                prop_assert!((size as f64 - exact).abs() <= 0.5 + 1e-6 || (size == 1 && exact < 1.0));
                let behind = to - size - margin;
                prop_assert!(behind == margin || behind == margin + 1);
            }

            let placed = Fit::Stretch.place(from, to);
            prop_assert_eq!(placed.used, (from.0 as f64, from.1 as f64));
            prop_assert_eq!((placed.size, placed.margin), (to, (0, 0)));
        }
    }

    #[test]
    fn a_picture_of_the_same_proportions_is_used_whole() {
        for fit in [Fit::Cover, Fit::Stretch, Fit::Contain] {
            let placed = fit.place((900, 300), (300, 100));
            assert_eq!((placed.used, placed.size), ((900.0, 300.0), (300, 100)));
        }
    }
}
