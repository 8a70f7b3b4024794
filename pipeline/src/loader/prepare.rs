//! What is checked and worked out before a loader sets anything aside.

use super::builder::LoaderBuilder;
use super::plan::Plan;
use super::tuner::{Bounds, Limit};
use crate::batch::{Recipe, SlotSize, fingerprint, verify};
use crate::error::{Error, Result, invalid};
use crate::order::{GlobalBatches, Order};
use crate::sink::Sink;
use crate::transform::{Element, Program};

/// Batches are cut into parts of at least this many bytes, which are worth a worker's while. Models are of batches that
/// are small and cut nevertheless.
const LEAST_PART_BYTES: usize = if cfg!(shuttle) { 1 } else { 1 << 20 };

/// Tuned workers are at most so many for each processor of their share, as more than that would wait for each other, or so
/// many in all: a machine of few processors may have a slow disk, too.
const MOST_A_PROCESSOR: usize = if cfg!(shuttle) { 1 } else { 4 };
const MOST_WORKERS: usize = if cfg!(shuttle) { 3 } else { 16 };

/// With so many batches ahead for each worker tuning begins, and with so many it ends; or so many in all, for consumers that
/// take many at once.
const AHEAD: usize = 2;
const MOST_AHEAD: usize = if cfg!(shuttle) { 1 } else { 4 };
const MOST_SLOTS: usize = if cfg!(shuttle) { 1 } else { 33 };

/// So many slots come before more workers than there are processors: one that is filled, one that is ready, one that is held.
const FIRST_SLOTS: usize = 3;

/// All that a loader is made of, before it is made.
pub(crate) struct Prepared<T: Element> {
    pub(crate) program: Program<T>,
    pub(crate) order: Order,
    pub(crate) batches: GlobalBatches,
    pub(crate) seed: u64,
    /// What epochs and batches are made of, in words: what a state must have been saved with.
    pub(crate) description: String,
    pub(crate) plan: Plan,
    pub(super) limit: Limit,
}

impl<K: Sink> LoaderBuilder<K> {
    /// Checks everything, and says what it comes to.
    pub(crate) fn prepare(&self) -> Result<Prepared<K::Element>> {
        let source = &*self.source;
        let program = Program::new(&self.transform, source.shape())?;
        if source.is_empty() {
            return Err(invalid(
                "number of samples",
                0,
                "at least 1: the source is empty",
            ));
        }
        verify(source)?;
        let saved = self.resume.as_ref().map(|state| state.seed);
        let seed = self.seed.or(saved).unwrap_or(0);
        let mut order = self.sampling.order(source, seed)?.skip(self.skip)?;
        if let Some(samples) = self.take {
            order = order.take(samples)?;
        }
        let batches = GlobalBatches::new(order.len(), self.batch_size, self.tail)?;
        let fewest = self.batch_size.min(order.len());
        if self.shard.world_size() > fewest {
            let expected = format!(
                "at most {fewest}, so that every rank gets samples: there are {} of them, in batches of {}",
                order.len(),
                self.batch_size
            );
            return Err(invalid("world size", self.shard.world_size(), expected));
        }
        if !(self.cpu_share > 0.0 && self.cpu_share <= 1.0) {
            return Err(invalid(
                "share of the processors",
                self.cpu_share,
                "above 0, and at most 1",
            ));
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let limit = Limit {
            processors: processors as f64 * self.cpu_share,
            all: self.cpu_share == 1.0,
        };
        let plan = self.sizes(&program, &order, &batches, limit.processors)?;
        let description = format!(
            "{}, {} samples from {} on, in batches of {}, tail {:?}",
            self.sampling,
            order.len(),
            self.skip,
            self.batch_size,
            self.tail
        );
        if let Some(state) = &self.resume {
            state.check(fingerprint(source)?, &description, self.seed, plan.steps)?;
        }
        Ok(Prepared {
            program,
            order,
            batches,
            seed,
            description,
            plan,
            limit,
        })
    }

    fn sizes(
        &self,
        program: &Program<K::Element>,
        order: &Order,
        batches: &GlobalBatches,
        processors: f64,
    ) -> Result<Plan> {
        let (rows, shape) = (batches.rows(0, self.shard).rows, program.output_shape());
        let slot_bytes = SlotSize { rows, shape }.bytes::<K::Element>();
        let slot_bytes = slot_bytes.unwrap_or(usize::MAX);
        let worker_bytes = Recipe::worker_bytes(&*self.source, program);
        let order_bytes = self.sampling.table_bytes(self.source.len());
        let workers = self.worker_bounds(processors, worker_bytes, slot_bytes, order_bytes)?;
        let parts = (slot_bytes / LEAST_PART_BYTES).clamp(1, workers.most.min(rows));
        let mut plan = Plan {
            samples: order.len(),
            steps: batches.steps(),
            rows,
            shape,
            element: K::Element::NAME,
            workers: workers.most,
            initial_workers: workers.first,
            // Parts are of equal size, but for the last one.
            parts: rows.div_ceil(rows.div_ceil(parts)),
            slots: 0,
            initial_slots: 0,
            slot_bytes,
            worker_bytes,
            order_bytes,
        };
        let slots = self.slot_bounds(&plan)?;
        (plan.initial_slots, plan.slots) = (slots.first, slots.most);
        Ok(plan)
    }

    /// With how many workers to begin, and how many there may be. Those that are not asked for by number have what the batches
    /// leave that are needed first.
    fn worker_bounds(
        &self,
        processors: f64,
        worker_bytes: usize,
        slot_bytes: usize,
        order_bytes: usize,
    ) -> Result<Bounds> {
        match self.workers {
            Some(0) => Err(invalid("number of workers", 0, "at least 1")),
            Some(workers) => Ok(Bounds {
                first: workers,
                most: workers,
            }),
            None => {
                let least = self
                    .prefetch
                    .map_or(FIRST_SLOTS, |ahead| ahead.saturating_add(1));
                let budget = self.memory_budget.saturating_sub(order_bytes);
                let slots = (budget / slot_bytes.max(1)).min(least);
                let rest = budget - slots * slot_bytes;
                let affordable = (rest / worker_bytes.max(1)).max(1);
                let first = (processors as usize).max(1);
                let most = MOST_WORKERS.max(MOST_A_PROCESSOR * first);
                Ok(Bounds {
                    first: first.min(affordable),
                    most: most.min(affordable),
                })
            }
        }
    }

    /// With how many slots to begin, and how many there may be: what the budget holds besides all other memory, up to what
    /// is of use.
    fn slot_bounds(&self, plan: &Plan) -> Result<Bounds> {
        let own = plan.workers.saturating_mul(plan.worker_bytes);
        let own = own.saturating_add(plan.order_bytes);
        let affordable = self.memory_budget.saturating_sub(own) / plan.slot_bytes.max(1);
        // An explicit depth must fit; the default makes do with what there is.
        let least = self.prefetch.map_or(1, |batches| batches.saturating_add(1));
        if affordable < least {
            return Err(Error::BudgetTooSmall {
                budget: self.memory_budget,
                needed: plan.slot_bytes.saturating_mul(least).saturating_add(own),
                slots: least,
                workers: plan.workers,
            });
        }
        let ahead = |workers: usize, each: usize| workers.saturating_mul(each).saturating_add(1);
        let [first, most] = match self.prefetch {
            Some(_) => [least; 2],
            None => [
                ahead(plan.initial_workers, AHEAD),
                ahead(plan.workers, MOST_AHEAD).max(MOST_SLOTS),
            ],
        };
        Ok(Bounds {
            first: first.min(affordable),
            most: most.min(affordable),
        })
    }
}
