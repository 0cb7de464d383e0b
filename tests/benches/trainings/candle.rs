//! The same trainings one by one, as candle's own documentation writes them: a `VarMap`, layers of
//! candle-nn, its AdamW, `backward_step`.
//!
//! Floor: wiring.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap,
    conv2d, linear, loss,
};
use common::seed::{Stream, StreamRng};

use crate::side::Side;
use crate::work::{BATCH, Scaled, Work};

/// One training a turn.
pub fn side(work: &Work) -> Result<Side<'_>> {
    let train = Rows::of(work, &work.scaled(&work.train_rows))?;
    let test = Rows::of(work, &work.scaled(&work.test_rows))?;
    let mut seed = 0;
    Ok(Side::here(NAME, move || {
        seed += 1;
        Ok((1, training(work, &train, &test, seed)?))
    }))
}

pub const NAME: &str = "candle-nn, one by one";

struct Rows {
    features: Tensor,
    labels: Tensor,
}

impl Rows {
    fn of(work: &Work, rows: &Scaled) -> Result<Self> {
        let count = rows.labels.len();
        let shape = match work.dataset.shape.as_slice() {
            // candle's images have their channels first; these have one.
            &[height, width, 1] => vec![count, 1, height, width],
            _ => vec![count, work.dataset.width],
        };
        let features = Tensor::from_slice(&rows.features, shape, &Device::Cpu)?;
        let labels = Tensor::from_slice(&rows.labels, count, &Device::Cpu)?;
        Ok(Self { features, labels })
    }
}

enum Network {
    Mlp([Linear; 3]),
    Cnn([Conv2d; 2], Linear),
}

impl Network {
    fn new(work: &Work, vars: VarBuilder<'_>) -> Result<Self> {
        let classes = work.classes();
        if let &[one, other] = work.hyper.hidden.as_slice() {
            let (one, other) = (one as usize, other as usize);
            return Ok(Network::Mlp([
                linear(work.dataset.width, one, vars.pp("1"))?,
                linear(one, other, vars.pp("2"))?,
                linear(other, classes, vars.pp("3"))?,
            ]));
        }
        let around = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let halving = Conv2dConfig { stride: 2, ..around };
        let convolutions =
            [conv2d(1, 8, 3, around, vars.pp("1"))?, conv2d(8, 16, 3, halving, vars.pp("2"))?];
        Ok(Network::Cnn(convolutions, linear(256, classes, vars.pp("3"))?))
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Network::Mlp([one, two, three]) => {
                three.forward(&two.forward(&one.forward(x)?.relu()?)?.relu()?)
            }
            Network::Cnn([one, two], last) => {
                let said = two.forward(&one.forward(x)?.relu()?)?.relu()?;
                last.forward(&said.flatten_from(1)?)
            }
        }
    }
}

fn training(work: &Work, train: &Rows, test: &Rows, seed: u64) -> Result<f64> {
    let map = VarMap::new();
    let vars = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let network = Network::new(work, vars)?;
    let params = ParamsAdamW { lr: work.hyper.lr, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(map.all_vars(), params)?;
    let mut order: Vec<u32> = (0..work.train_rows.len() as u32).collect();
    for epoch in 0..work.hyper.epochs {
        let of_epoch = (seed << 8) + u64::from(epoch);
        let digest = &work.dataset.digest;
        StreamRng::new(digest, Stream::Order, of_epoch, 0).shuffle(&mut order);
        for rows in order.chunks(BATCH) {
            let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
            let (x, y) =
                (train.features.index_select(&rows, 0)?, train.labels.index_select(&rows, 0)?);
            optimizer.backward_step(&loss::cross_entropy(&network.forward(&x)?, &y)?)?;
        }
    }
    let said = network.forward(&test.features)?.argmax(D::Minus1)?;
    let right = said.eq(&test.labels)?.to_dtype(DType::F32)?.mean_all()?;
    Ok(f64::from(right.to_scalar::<f32>()?))
}
