//! What a replica hands over to be saved.

use feedline_pipeline::loader::LoaderState;

use super::manifest::ParameterShape;
use super::tensors::{Tensor, key};
use crate::collective::Collective;
use crate::error::Result;
use crate::nn::Parameter;
use crate::optim::OptimizerState;

/// What a checkpoint holds besides how far the run has come.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) world_size: usize,
    pub(super) parameters: Vec<ParameterShape>,
    pub(super) tensors: Vec<(String, Tensor)>,
    pub(super) optimizer_steps: u64,
    pub(super) loader: LoaderState,
}

impl Snapshot {
    /// Of a model in which `trained` have these `values`, one after the other, and `untrained` these `statistics` of each rank.
    pub(crate) fn new(
        (trained, values): (&[Parameter], &[f32]),
        (untrained, statistics): (&[Parameter], &[Vec<f32>]),
        optimizer: &OptimizerState,
        loader: LoaderState,
    ) -> Self {
        let (mut parameters, mut tensors) = (Vec::new(), Vec::new());
        let first = statistics.first().map_or(&[][..], Vec::as_slice);
        for (part, mut values) in [(trained, values), (untrained, first)] {
            for own in part {
                let shape = own.value.dims().to_vec();
                let (own_values, rest) = values.split_at(own.value.elem_count());
                tensors.push((
                    key::parameter(&own.name),
                    Tensor::new(shape.clone(), own_values.to_vec()),
                ));
                parameters.push(ParameterShape {
                    name: own.name.clone(),
                    shape,
                    trained: own.trainable,
                });
                values = rest;
            }
        }
        for (rank, own) in statistics.iter().enumerate().skip(1) {
            if !own.is_empty() {
                let tensor = Tensor::new(vec![own.len()], own.clone());
                tensors.push((key::statistics(rank), tensor));
            }
        }
        for (name, own) in optimizer.buffers() {
            let tensor = Tensor::new(vec![own.len()], own.to_vec());
            tensors.push((key::optimizer(name), tensor));
        }
        Self {
            world_size: statistics.len(),
            parameters,
            tensors,
            optimizer_steps: optimizer.steps(),
            loader,
        }
    }
}

/// Every rank's statistics on every rank: between evaluations they differ.
pub(crate) fn of_all_ranks(own: &[f32], collective: &dyn Collective) -> Result<Vec<Vec<f32>>> {
    let world_size = collective.world_size();
    if world_size == 1 || own.is_empty() {
        return Ok(vec![own.to_vec(); world_size]);
    }
    // As whole numbers, whose sums with zeros are exact, whatever the bits mean.
    let mut bits = vec![0.0; own.len() * world_size];
    let places = bits.iter_mut().skip(own.len() * collective.rank());
    places
        .zip(own)
        .for_each(|(place, value)| *place = f64::from(value.to_bits()));
    collective.all_reduce_sum_f64(&mut bits)?;
    let ranks = bits.chunks(own.len());
    let values = |rank: &[f64]| {
        rank.iter()
            .map(|&bits| f32::from_bits(bits as u32))
            .collect()
    };
    Ok(ranks.map(values).collect())
}
