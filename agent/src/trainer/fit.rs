//! Fitting: stacks of lanes from first weights to last.
//!
//! Test rows never enter: a lane's weights and scales depend on its training rows alone. Each lane
//! walks through its own epochs without waiting for another; one that is over makes room for the next
//! that waits, so that a stack stays full to the end. Where products are a library's, whose rounding may
//! change with their number, a stack is 1, 2, 4, 8 … lanes wide and idle lanes fill it up. A lane may
//! begin where a checkpoint left it and end before its last epoch: what it does in an epoch is the same
//! then. Deliberately absent: metrics.
//!
//! Floor: core.

use std::collections::VecDeque;

use candle_core::{Device, Result, Tensor};
use common::curve::{Curve, Quantity, Trace};
use common::table::Dataset;

use super::checkpoint::{Best, Checkpoint, Leg, training};
use super::lanes::Lane;
use super::loss::{Loss, losses};
use super::minibatch::{Dropout, Minibatch, Walk};
use super::network::{Network, Pass, Spent, network, outputs};
use super::ops::has_loops;
use super::optimizer::{Pace, Paces, clip, copies, step};
use super::rows::Rows;

/// A lane's trained model.
#[derive(Debug)]
pub struct Fitted<'a> {
    /// Of one lane.
    pub network: Network,
    pub rows: Rows<'a>,
    /// Epochs that were trained.
    pub epochs: u32,
    /// Those of them that a checkpoint had.
    pub begun: u32,
    /// The epoch, from 1, after which the loss was not finite.
    pub diverged: Option<u32>,
    /// Losses by epoch.
    pub curve: Option<Curve>,
    /// Where it stands, if that was asked for.
    pub checkpoint: Option<Checkpoint>,
}

/// A lane with the part of its training that is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    pub lane: &'a Lane,
    pub leg: Leg<'a>,
}

impl<'a> From<&'a Lane> for Member<'a> {
    /// The whole training.
    fn from(lane: &'a Lane) -> Self {
        Self { lane, leg: Leg::default() }
    }
}

impl Member<'_> {
    /// The epoch, from 1, after which it stops at the latest.
    pub fn last(&self) -> u32 {
        let epochs = self.lane.hyper.epochs;
        let until = [self.leg.until, self.lane.hyper.until].into_iter().flatten().min();
        until.map_or(epochs, |until| until.clamp(1, epochs.max(1)))
    }

    /// Epochs that it has to train, if it begins where it is to begin at best.
    pub fn epochs_left(&self) -> u32 {
        let had = self.leg.from.first().map_or(0, Checkpoint::epochs);
        self.last().checked_sub(had).unwrap_or(self.last())
    }
}

/// Trains `lanes`, all of one shape and at least one, `width` at once: one a lane, in their order.
/// `None` when `stop` said so.
pub fn fit<'a>(
    dataset: &'a Dataset,
    lanes: &[impl Into<Member<'a>> + Copy],
    width: usize,
    device: &Device,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Fitted<'a>>>> {
    let mut stack = Stack::new(dataset, lanes, width, device)?;
    while !stack.slots.is_empty() {
        if stop() {
            return Ok(None);
        }
        stack.step()?;
        stack.settle()?;
    }
    Ok(stack.fitted.into_iter().collect())
}

/// Lanes that train together, and those that wait for a place.
pub struct Stack<'a> {
    dataset: &'a Dataset,
    device: Device,
    network: Network,
    slots: Vec<Slot<'a>>,
    waiting: VecDeque<(usize, Member<'a>)>,
    fitted: Vec<Option<Fitted<'a>>>,
    /// Rows that a minibatch has room for.
    places: usize,
    /// Room that the last step left.
    spent: Spent,
}

/// One lane in training; its place among the slots is its place on axis 0.
struct Slot<'a> {
    /// Its place among all lanes.
    number: usize,
    member: Member<'a>,
    walk: Walk<'a>,
    pace: Pace,
    loss: Loss,
    /// Sum over the epoch's steps.
    sum: f32,
    /// Sum over the epoch's rows.
    told: f64,
    trace: Trace,
    /// What was best by the validation rows.
    best: Option<Best<Tensor>>,
    /// Epochs done, and those of them that a checkpoint had.
    done: u32,
    begun: u32,
    /// Whether the loss of the last epoch was not finite.
    diverged: bool,
    /// Whether no lane is in it any more: it meets padding, and nothing of it is read.
    idle: bool,
}

impl Slot<'_> {
    /// Whether no epoch comes after those that are done.
    fn is_over(&self) -> bool {
        let patience = self.walk.lane.hyper.recipe.patience;
        let best = self.best.as_ref().map_or(self.done, |best| best.epoch);
        let stale = patience > 0 && self.done - best >= patience;
        self.diverged || stale || self.done >= self.member.last()
    }
}

impl<'a> Stack<'a> {
    pub fn new(
        dataset: &'a Dataset,
        lanes: &[impl Into<Member<'a>> + Copy],
        width: usize,
        device: &Device,
    ) -> Result<Self> {
        let members = lanes.iter().map(|&lane| lane.into());
        let waiting: VecDeque<(usize, Member<'a>)> = members.enumerate().collect();
        let (first, width) = (waiting[0].1, padded(width.clamp(1, lanes.len()), device));
        let hyper = &first.lane.hyper;
        let copies = copies(hyper.optimizer);
        let mut stack = Self {
            dataset,
            device: device.clone(),
            network: network(first.lane.model, hyper, dataset, width, copies, device)?,
            slots: Vec::with_capacity(width),
            waiting,
            fitted: Vec::new(),
            // By the data set and not by the folds: a lane alone must round as it does in company.
            places: (hyper.batch.max(1) as usize).min(dataset.rows()),
            spent: Spent::default(),
        };
        stack.fitted.resize_with(lanes.len(), || None);
        for place in 0..width {
            let slot = match stack.next_slot(place)? {
                Some(slot) => slot,
                None => stack.idle_slot(first),
            };
            stack.slots.push(slot);
        }
        if stack.slots.iter().all(|slot| slot.idle) {
            stack.slots.clear();
        }
        Ok(stack)
    }

    /// The next lane that waits and has an epoch to train, begun at `place`.
    fn next_slot(&mut self, place: usize) -> Result<Option<Slot<'a>>> {
        while let Some((number, member)) = self.waiting.pop_front() {
            let slot = Slot { number, idle: false, ..self.slot(member) };
            let slot = self.begun(slot, place)?;
            if !slot.is_over() {
                return Ok(Some(slot));
            }
            let fitted = self.fitted(&slot, place)?;
            self.fitted[number] = Some(fitted);
        }
        Ok(None)
    }

    /// The slot as the checkpoint that is believed left it, or at its first epoch.
    fn begun(&self, mut slot: Slot<'a>, place: usize) -> Result<Slot<'a>> {
        let lane = slot.member.lane;
        let Some(from) = self.believed(&slot.member)? else {
            self.network.begin(place, &self.dataset.digest, lane.seeds.init)?;
            return Ok(slot);
        };
        self.network.restore(place, &from.state)?;
        let tensors = |best: &Best<Vec<f32>>| -> Result<Best<Tensor>> {
            let values = self.network.values_of(&best.values)?;
            Ok(Best { loss: best.loss, epoch: best.epoch, values })
        };
        slot.best = from.best.as_ref().map(tensors).transpose()?;
        slot.trace.clone_from(&from.trace);
        (slot.done, slot.begun, slot.diverged) = (from.epochs, from.epochs, from.diverged);
        slot.pace = slot.pace.after(self.steps(lane).saturating_mul(from.epochs));
        slot.walk.begin(&self.dataset.digest, from.epochs);
        if let Some(shelf) = slot.member.leg.shelf {
            shelf.goes_on(from.epochs);
        }
        Ok(slot)
    }

    /// The first of a lane's checkpoints that is of this training, and went no further than is wanted.
    fn believed(&self, member: &Member<'a>) -> Result<Option<&'a Checkpoint>> {
        if member.leg.from.is_empty() {
            return Ok(None);
        }
        let of = training(self.dataset, member.lane, &self.device)?;
        for from in member.leg.from.iter().filter(|from| from.epochs() <= member.last()) {
            if from.is_of(&of, &self.network)? {
                return Ok(Some(from));
            }
        }
        Ok(None)
    }

    /// A place that a lane of this kind would have.
    fn idle_slot(&self, member: Member<'a>) -> Slot<'a> {
        let slot = self.slot(member);
        Slot { walk: slot.walk.ended(), ..slot }
    }

    fn slot(&self, member: Member<'a>) -> Slot<'a> {
        let lane = member.lane;
        Slot {
            number: 0,
            member,
            walk: Walk::new(self.dataset, lane),
            // Of the whole training, however far this leg goes.
            pace: Pace::new(&lane.hyper, self.steps(lane).saturating_mul(lane.hyper.epochs)),
            loss: Loss::of(&self.dataset.target, &lane.hyper.recipe),
            sum: 0.0,
            told: 0.0,
            trace: Trace::default(),
            best: None,
            done: 0,
            begun: 0,
            diverged: false,
            idle: true,
        }
    }

    /// Of one epoch.
    fn steps(&self, lane: &Lane) -> u32 {
        lane.train_rows.len().div_ceil(self.places) as u32
    }

    /// One minibatch of every lane, and the loss of each before it moved.
    pub fn step(&mut self) -> Result<Vec<f32>> {
        let met: Vec<usize> = self.slots.iter().map(|slot| slot.walk.met()).collect();
        let (sums, mut gradients) = self.gradients()?;
        for ((slot, &sum), met) in self.slots.iter_mut().zip(&sums).zip(met) {
            slot.sum += sum;
            slot.told += f64::from(sum) * (slot.walk.met() - met) as f64;
            slot.pace.advance();
        }
        let longest: Vec<f64> =
            self.slots.iter().map(|slot| slot.walk.lane.hyper.recipe.clip_norm).collect();
        clip(&mut gradients, &longest)?;
        let optimizer = self.slots[0].walk.lane.hyper.optimizer;
        let paces: Vec<&Pace> = self.slots.iter().map(|slot| &slot.pace).collect();
        let paces = Paces::of(&paces, &self.device)?;
        // What is not trained has no gradient.
        for (parameter, gradient) in self.network.parameters.iter().zip(&gradients) {
            if let Some(gradient) = gradient {
                step(parameter, gradient, optimizer, &paces)?;
            }
        }
        Ok(sums)
    }

    /// The loss of each lane's next minibatch, and its gradients by parameter: until the next call, which
    /// overwrites them.
    pub fn gradients(&mut self) -> Result<(Vec<f32>, Vec<Option<Tensor>>)> {
        let (dataset, places, device) = (self.dataset, self.places, &self.device);
        let kinds: Vec<Loss> = self.slots.iter().map(|slot| slot.loss).collect();
        let mut walks: Vec<&mut Walk<'a>> =
            self.slots.iter_mut().map(|slot| &mut slot.walk).collect();
        let minibatch = Minibatch::next(&mut walks, dataset, places, device)?;
        let mut dropout = Dropout::new(walks, minibatch.counts.clone(), places, device);
        let (network, spent) = (&self.network, std::mem::take(&mut self.spent));
        let mut pass = Pass::trained(&network.parameters, &minibatch.counts, &mut dropout, spent);
        let said = network.root.forward(minibatch.input, &mut pass)?;
        let (sums, d) = losses(&said, minibatch.truth, &kinds)?;
        network.root.backward(d, &mut pass, false)?;
        let (gradients, spent) = pass.into_spent();
        self.spent = spent;
        Ok((sums, gradients))
    }

    /// Lanes and idle ones.
    #[cfg(test)]
    pub fn width(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// After a step: lanes whose epoch is over go on to the next, or are done and make room.
    pub fn settle(&mut self) -> Result<()> {
        let (mut keep, mut idle) = (Vec::with_capacity(self.slots.len()), Vec::new());
        for place in 0..self.slots.len() {
            if !self.slots[place].idle {
                if !self.slots[place].walk.is_over() || self.goes_on(place)? {
                    keep.push(place);
                    continue;
                }
                let slot = &self.slots[place];
                let (number, fitted) = (slot.number, self.fitted(slot, place)?);
                self.fitted[number] = Some(fitted);
                self.slots[place].idle = true;
            }
            match self.next_slot(place)? {
                Some(next) => {
                    self.slots[place] = next;
                    keep.push(place);
                }
                None => idle.push(place),
            }
        }
        let fill = padded(keep.len(), &self.device) - keep.len();
        keep.extend(idle.into_iter().take(fill));
        keep.sort_unstable();
        if keep.len() < self.slots.len() {
            let mut place = 0;
            self.slots.retain(|_| {
                place += 1;
                keep.contains(&(place - 1))
            });
            if !keep.is_empty() {
                self.network.retain(&keep, &self.device)?;
            }
        }
        Ok(())
    }

    /// Whether a lane whose epoch is over begins another one.
    fn goes_on(&mut self, place: usize) -> Result<bool> {
        let slot = &mut self.slots[place];
        slot.done = slot.walk.epoch + 1;
        slot.diverged = !slot.sum.is_finite();
        if slot.diverged {
            return Ok(false);
        }
        let (done, lane) = (slot.done, slot.walk.lane);
        let held_out = !lane.validation_rows.is_empty();
        let validation = if held_out { Some(self.validation_loss(place)?) } else { None };
        let slot = &mut self.slots[place];
        let mean = slot.told / slot.walk.met().max(1) as f64;
        slot.trace.push(done, mean, validation.map(f64::from));
        if let Some(loss) = validation.filter(|_| lane.hyper.recipe.patience > 0)
            && slot.best.as_ref().is_none_or(|best| loss < best.loss)
        {
            let values = self.network.export(place)?;
            slot.best = Some(Best { loss, epoch: done, values });
        }
        if slot.is_over() {
            return Ok(false);
        }
        (slot.sum, slot.told) = (0.0, 0.0);
        slot.walk.begin(&self.dataset.digest, done);
        let slot = &self.slots[place];
        if let Some(shelf) = slot.member.leg.shelf.filter(|shelf| shelf.wants()) {
            shelf.keep(self.checkpoint(slot, place)?);
        }
        Ok(true)
    }

    /// What a lane has to go on from, its epoch over.
    fn checkpoint(&self, slot: &Slot<'a>, place: usize) -> Result<Checkpoint> {
        let numbers = |best: &Best<Tensor>| -> Result<Best<Vec<f32>>> {
            let values = best.values.iter().map(|values| values.flatten_all()?.to_vec1());
            Ok(Best { loss: best.loss, epoch: best.epoch, values: values.collect::<Result<_>>()? })
        };
        Ok(Checkpoint {
            of: training(self.dataset, slot.walk.lane, &self.device)?,
            epochs: slot.done,
            diverged: slot.diverged,
            state: self.network.state_of(place)?,
            best: slot.best.as_ref().map(numbers).transpose()?,
            trace: slot.trace.clone(),
        })
    }

    fn validation_loss(&self, place: usize) -> Result<f32> {
        let slot = &self.slots[place];
        let network = self.network.of_one(self.network.export(place)?)?;
        let (rows, lane) = (&slot.walk.rows, slot.walk.lane);
        let width = outputs(&self.dataset.target);
        let said =
            said_of(&network, rows, &lane.validation_rows, self.dataset.width, &self.device)?;
        let of_row = rows.targets_of_row();
        let mut targets = vec![0.0; lane.validation_rows.len() * of_row];
        for (&row, targets) in lane.validation_rows.iter().zip(targets.chunks_exact_mut(of_row)) {
            rows.put_targets(row, targets);
        }
        Ok(slot.loss.mean(&said, &targets, width))
    }

    /// A lane's model as it is, or as it was best.
    fn fitted(&self, slot: &Slot<'a>, place: usize) -> Result<Fitted<'a>> {
        let values = match &slot.best {
            Some(best) => best.values.clone(),
            None => self.network.export(place)?,
        };
        let asked = slot.member.leg.keep;
        Ok(Fitted {
            network: self.network.of_one(values)?,
            rows: slot.walk.rows.clone(),
            epochs: slot.done,
            begun: slot.begun,
            diverged: slot.diverged.then_some(slot.done),
            curve: slot.trace.curve(Quantity::Loss),
            checkpoint: asked.then(|| self.checkpoint(slot, place)).transpose()?,
        })
    }
}

/// How wide a stack of so many lanes is.
fn padded(lanes: usize, device: &Device) -> usize {
    match lanes == 0 || has_loops(device) {
        true => lanes,
        false => lanes.next_power_of_two(),
    }
}

/// What a network of one lane says of `rows`, in parts that fit the memory: [rows · targets, outputs].
pub fn said_of(
    network: &Network,
    seen: &Rows<'_>,
    rows: &[u32],
    width: usize,
    device: &Device,
) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for rows in rows.chunks(rows_at_once(width)) {
        let mut input = vec![0.0; rows.len() * width];
        seen.put_all(rows.iter().copied(), &mut input);
        let input = Tensor::from_vec(input, (1, rows.len(), width), device)?;
        all.extend(network.say(input, rows.len())?.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(all)
}

/// How many rows of a width are evaluated together.
pub fn rows_at_once(width: usize) -> usize {
    (NUMBERS_AT_ONCE / width.max(1)).clamp(1, ROWS_AT_ONCE)
}

/// Bound the memory of an evaluation.
const ROWS_AT_ONCE: usize = 1024;
const NUMBERS_AT_ONCE: usize = 1 << 18;
