//! How the learning rate changes while training runs.

use std::f64::consts::PI;

use crate::error::{Result, invalid};

/// A factor on the optimizer's learning rate that depends on how much of the training is done.
///
/// Large steps find a good region, small ones settle in it: a schedule that ends low usually ends better than a constant
/// rate, and bears a larger one. The number of steps must be known, and settled, from the beginning: half of a long run
/// is not a short run.
///
/// ```
/// use feedline_trainer::optim::Schedule;
///
/// let schedule = Schedule::cosine(0.1).warm_up(0.2);
/// let factors: Vec<_> = (0..=10).map(|step| schedule.factor(step, 10)).collect();
/// assert_eq!(factors[0], 0.04); // a 25th
/// assert_eq!(factors[2], 1.0); // after a fifth of the steps
/// assert_eq!(factors[10], 0.1); // when all is done
/// # assert!((factors[6] - 0.55).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The share of the steps in which the factor rises.
    warm_up: f32,
    decay: Decay,
}

/// What comes after warming up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Decay {
    Constant,
    Cosine { final_factor: f32 },
    Steps { factor: f32, every: f32 },
}

/// The factor at the first step of a warm-up: small, but not 0, which would make a step for nothing.
const FIRST: f64 = 1.0 / 25.0;

impl Schedule {
    /// The factor is 1 throughout.
    pub fn constant() -> Self {
        Self {
            warm_up: 0.0,
            decay: Decay::Constant,
        }
    }

    /// From 1 down to `final_factor`, from 0 to 1, along half a wave of the cosine: slowly at first, fast in the middle and
    /// slowly again (Loshchilov, Hutter: "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016,
    /// [arXiv:1608.03983](https://arxiv.org/abs/1608.03983), equation 5, without restarts).
    pub fn cosine(final_factor: f32) -> Self {
        Self {
            decay: Decay::Cosine { final_factor },
            ..Self::constant()
        }
    }

    /// Multiplied by `factor`, from above 0 to 1, whenever another share `every` of the steps is done, from above 0 to 1:
    /// `Schedule::step(0.1, 0.3)` is 1, 0.1, 0.01 and 0.001, the last for a tenth of the steps.
    ///
    /// ```
    /// use feedline_trainer::optim::Schedule;
    ///
    /// let schedule = Schedule::step(0.5, 0.25);
    /// let factors: Vec<_> = (0..8).map(|step| schedule.factor(step, 8)).collect();
    /// assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
    /// ```
    pub fn step(factor: f32, every: f32) -> Self {
        Self {
            decay: Decay::Steps { factor, every },
            ..Self::constant()
        }
    }

    /// Up from a 25th to 1 over three tenths of the steps, then along the cosine to nearly 0: one cycle, which lets
    /// networks learn at rates several times as high as a constant one (Smith, Topin: "Super-Convergence: Very Fast
    /// Training of Neural Networks Using Large Learning Rates", 2017,
    /// [arXiv:1708.07120](https://arxiv.org/abs/1708.07120); the shape is PyTorch's `OneCycleLR`). Momentum stays as it
    /// is; the paper lowers it while the rate is high.
    pub fn one_cycle() -> Self {
        Self::cosine(0.0).warm_up(0.3)
    }

    /// Lets the factor rise in a straight line from a 25th to 1 over this share of all steps, from 0 to below 1, before
    /// anything else happens. What follows has the remaining steps.
    #[must_use]
    pub fn warm_up(self, share: f32) -> Self {
        Self {
            warm_up: share,
            ..self
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) names the setting that can't work.
    pub fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.warm_up) {
            let expected = "a share of all steps, from 0 to below 1";
            return Err(invalid("warm-up", self.warm_up, expected));
        }
        match self.decay {
            Decay::Cosine { final_factor } if !(0.0..=1.0).contains(&final_factor) => {
                let expected = "a share of the learning rate, from 0 to 1";
                Err(invalid("final factor", final_factor, expected))
            }
            Decay::Steps { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                Err(invalid("step factor", factor, "from above 0 to 1"))
            }
            Decay::Steps { every, .. } if !(every > 0.0 && every <= 1.0) => {
                let expected = "a share of all steps, from above 0 to 1";
                Err(invalid("distance of the schedule's steps", every, expected))
            }
            Decay::Cosine { .. } | Decay::Steps { .. } | Decay::Constant => Ok(()),
        }
    }

    /// The factor for `step`, counted from 0 over all epochs, of `steps` in all. From step `steps` on it is what the last
    /// step comes near to.
    pub fn factor(&self, step: u64, steps: u64) -> f32 {
        let done = (step as f64 / steps.max(1) as f64).min(1.0);
        let warm_up = f64::from(self.warm_up);
        if done < warm_up {
            return (FIRST + (1.0 - FIRST) * done / warm_up) as f32;
        }
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Steps { factor, every } => {
                // A share such as 0.1 is no number of `f32`: its multiples are not to be missed by that little.
                let times = (done - warm_up) / (1.0 - warm_up) / f64::from(every) * (1.0 + 1e-6);
                f64::from(factor).powi(times as i32) as f32
            }
            Decay::Cosine { final_factor } => {
                let last = f64::from(final_factor);
                let wave = 0.5 + 0.5 * (PI * (done - warm_up) / (1.0 - warm_up)).cos();
                (last + (1.0 - last) * wave) as f32
            }
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::constant()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, steps: u64) -> Vec<f32> {
        (0..steps)
            .map(|step| schedule.factor(step, steps))
            .collect()
    }

    #[test]
    fn constant_changes_nothing() {
        assert_eq!(factors(Schedule::default(), 5), [1.0; 5]);
    }

    #[test]
    fn cosine_falls_from_one_to_the_final_factor() {
        let cosine = Schedule::cosine(0.2);
        let all = factors(cosine, 100);
        assert!(all.is_sorted_by(|a, b| a > b), "{all:?}");
        // Ends and middle, worked out by hand.
        assert_eq!((all[0], cosine.factor(100, 100)), (1.0, 0.2));
        assert!((all[50] - 0.6).abs() < 1e-6, "{}", all[50]);
        let third = 0.2 + 0.8 * (0.5 + 0.5 * 0.5);
        assert!((cosine.factor(1, 3) - third).abs() < 1e-6);
    }

    #[test]
    fn one_cycle_rises_in_a_straight_line_and_falls_to_nearly_nothing() {
        let all = factors(Schedule::one_cycle(), 1000);
        let (rising, falling) = all.split_at(300);
        assert!((rising[0] - 0.04).abs() < 1e-7, "{}", rising[0]);
        assert!((rising[150] - 0.52).abs() < 1e-6, "{}", rising[150]);
        assert!((falling[0] - 1.0).abs() < 1e-6, "{}", falling[0]);
        assert!((falling[350] - 0.5).abs() < 1e-6, "{}", falling[350]);
        assert!(falling.is_sorted_by(|a, b| a > b));
        assert!(falling[699] < 1e-5, "{}", falling[699]);
    }

    #[test]
    fn steps_fall_when_their_share_is_done() {
        let all = factors(Schedule::step(0.1, 0.3), 100);
        let falls = (1..100).filter(|&step| all[step] < all[step - 1]);
        assert_eq!(falls.collect::<Vec<_>>(), [30, 60, 90]);
        for (step, expected) in [(0, 1.0), (30, 0.1), (60, 0.01), (99, 0.001)] {
            assert!((all[step] / expected - 1.0).abs() < 1e-6, "{}", all[step]);
        }
        // After warming up, of what is left.
        let all = factors(Schedule::step(0.5, 0.5).warm_up(0.2), 100);
        assert_eq!([20, 59, 60, 99].map(|step| all[step]), [1.0, 1.0, 0.5, 0.5]);
    }

    #[test]
    fn no_step_is_without_effect_however_few_there_are() {
        for schedule in [
            Schedule::constant().warm_up(0.9),
            Schedule::cosine(0.0),
            Schedule::one_cycle(),
        ] {
            for steps in [1, 2, 3, 10, 100_000] {
                let all = factors(schedule, steps);
                let fits = |&factor: &f32| factor > 0.0 && factor <= 1.0;
                assert!(all.iter().all(fits), "{schedule:?} {steps}");
            }
        }
        // Beyond the end, and of nothing.
        assert_eq!(Schedule::cosine(0.5).factor(u64::MAX, 3), 0.5);
        assert_eq!(Schedule::cosine(0.5).factor(0, 0), 1.0);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(Schedule::one_cycle().check().is_ok());
        assert!(Schedule::cosine(1.0).warm_up(0.0).check().is_ok());
        for (schedule, name) in [
            (Schedule::cosine(-0.1), "final factor is -0.1"),
            (Schedule::cosine(f32::NAN), "final factor is NaN"),
            (Schedule::step(0.0, 0.1), "step factor is 0"),
            (
                Schedule::step(0.1, f32::NAN),
                "distance of the schedule's steps is NaN",
            ),
            (Schedule::constant().warm_up(1.0), "warm-up is 1"),
            (Schedule::one_cycle().warm_up(f32::NAN), "warm-up is NaN"),
        ] {
            let error = schedule.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
