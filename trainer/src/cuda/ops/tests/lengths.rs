//! Buffers that do not fit are refused, and not read or written beyond their ends.

use super::*;
use crate::Error;
use crate::cuda::ops::batch_norm::{Line, State};
use crate::cuda::ops::shape::{Picture, Pool};
use crate::cuda::ops::{activation, convert, dropout, flatten, loss, pool};
use crate::nn::geometry::{Padding, Side};
use crate::nn::{BatchNorm, Pass};

fn refused(result: crate::Result<()>) {
    assert!(
        matches!(result, Err(Error::InvalidArgument { .. })),
        "{result:?}"
    );
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let Some(context) = context() else { return };
    let context = &context;
    let numbers = garbage::<f32>(context, 1000);
    let mut to = garbage::<f32>(context, 1000);
    let mut second = garbage::<f32>(context, 1000);
    let mut scratch = scratch(context, 4);
    let from = |length: usize| numbers.slice(..length);

    let bias = from(3);
    refused(activation::forward(
        context,
        4,
        Some(&bias),
        true,
        &from(8),
        &mut to.slice_mut(..8),
    ));
    refused(activation::forward(
        context,
        3,
        None,
        true,
        &from(8),
        &mut to.slice_mut(..8),
    ));
    refused(activation::forward(
        context,
        4,
        None,
        true,
        &from(8),
        &mut to.slice_mut(..12),
    ));
    refused(activation::forward_in_place(
        context,
        0,
        None,
        true,
        &mut to.slice_mut(..8),
    ));
    refused(activation::backward(
        context,
        &from(8),
        &from(7),
        &mut to.slice_mut(..8),
    ));
    let mut sums = |numbers: usize, scratch_len: usize, sums: usize| {
        let (gradient, sums) = (&mut to.slice_mut(..numbers), &mut second.slice_mut(..sums));
        let scratch = &mut scratch.slice_mut(..scratch_len);
        activation::bias_gradient(context, 4, None, gradient, scratch, sums)
    };
    let enough = super::super::sums::scratch_len(4);
    sums(8, enough, 4).unwrap();
    refused(sums(8, enough - 1, 4));
    refused(sums(8, enough, 5));
    refused(sums(9, enough, 4));
    refused(sums(0, enough, 4));

    let sides = [5, 6].map(|size| Side::new(size, 2, 2, Padding::Same));
    let shape = Pool::new(Picture::new(5, 6, 4), &sides).unwrap();
    let mut kept = send(context, &[0u16; 72]);
    let mut pooled = |input: usize, output: usize, places: usize| {
        let (output, places) = (&mut to.slice_mut(..output), &mut kept.slice_mut(..places));
        pool::forward(
            context,
            &shape,
            2,
            None,
            false,
            &from(input),
            output,
            places,
        )
    };
    pooled(240, 72, 72).unwrap();
    refused(pooled(239, 72, 72));
    refused(pooled(240, 73, 72));
    refused(pooled(240, 72, 71));
    let mut back = |rows: usize, d_input: usize| {
        let (places, d_input) = (&kept.as_view(), &mut to.slice_mut(..d_input));
        pool::backward(context, &shape, rows, None, places, &from(72), d_input)
    };
    back(2, 240).unwrap();
    refused(back(2, 241));
    refused(back(3, 360));
    refused(back(usize::MAX / 2, 240));

    let picture = Picture::new(5, 6, 4);
    let pass = Pass::training(0, 0, 0);
    refused(dropout::apply(
        context,
        &picture,
        2,
        0.5,
        &pass,
        &from(240),
        &mut to.slice_mut(..239),
    ));
    refused(dropout::apply(
        context,
        &picture,
        1,
        0.5,
        &pass,
        &from(240),
        &mut to.slice_mut(..240),
    ));
    refused(flatten::to_pixels(
        context,
        &picture,
        2,
        &from(240),
        &mut to.slice_mut(..239),
    ));
    refused(convert::from_f32::<f32>(
        context,
        &from(3),
        &mut to.slice_mut(..4),
    ));

    let labels = send(context, &[0u32; 5]);
    let mut lose = |classes: usize, logits: usize, losses: usize| {
        let losses = &mut to.slice_mut(..losses);
        loss::cross_entropy(
            context,
            classes,
            1.0,
            &from(logits),
            &labels.as_view(),
            losses,
            None,
        )
    };
    lose(3, 15, 10).unwrap();
    refused(lose(3, 14, 10));
    refused(lose(3, 15, 9));
    refused(lose(0, 0, 10));
    refused(loss::totals(context, &from(10), &mut to.slice_mut(..3)));

    let mut state = State::new(context, BatchNorm::new(), 4).unwrap();
    let mut evaluate = |scale: usize, mean: usize, input: usize, output: usize| {
        let line = Line {
            scale: from(scale),
            shift: from(4),
        };
        let output = &mut to.slice_mut(..output);
        state.evaluate(
            context,
            &line,
            &from(mean),
            &from(4),
            false,
            &from(input),
            output,
        )
    };
    evaluate(4, 4, 8, 8).unwrap();
    refused(evaluate(3, 4, 8, 8));
    refused(evaluate(4, 5, 8, 8));
    refused(evaluate(4, 4, 8, 12));
    refused(evaluate(4, 4, 9, 9));
    assert!(State::new(context, BatchNorm::new(), 0).is_err());
    context.gpu.synchronize().unwrap();
}
