//! Models: from a name and hyperparameters to layers.
//!
//! A linear model is a dense stack without hidden layers, so that both share every line of
//! arithmetic. First values are PyTorch's defaults: even in ±1/√(inputs) for weights and biases.
//!
//! Floor: core.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};
use common::study::{Hyper, Model, Norm};
use common::table::{Dataset, Target};

use super::super::ops::attention::Heads;
use super::super::ops::conv::Geometry;
use super::super::ops::norm::Sets;
use super::super::ops::pool::Squares;
use super::attention::{Attention, Column, Embed, EmbedLevels, Places};
use super::conv::{Conv, Kind, MeanOver, Pool, Reshape};
use super::dense::{Dense, Drop};
use super::norm::{BatchNorm, Rectify, SetNorm};
use super::shape::{Beside, Chain, Residual};
use super::{First, Layer, Network, Parameter};

/// The network of a model for a data set, with room for so many lanes and for `copies` of each
/// parameter: its values and what the optimizer remembers. All values are 0 until a lane begins.
///
/// Errors: a sentence, where the model cannot be built for rows of that shape.
pub fn network(
    model: Model,
    hyper: &Hyper,
    dataset: &Dataset,
    lanes: usize,
    copies: usize,
    device: &Device,
) -> Result<Network> {
    let mut build = Build { lanes, copies, device, parameters: Vec::new(), position: 0 };
    let layers = match model {
        Model::Cnn => build.cnn(hyper, dataset)?,
        Model::Resnet => build.resnet(hyper, dataset)?,
        Model::Unet => build.unet(hyper, dataset)?,
        Model::Transformer => build.transformer(hyper, dataset)?,
        Model::Mlp => build.mlp(hyper, dataset)?,
        // Controls have no layers of their own, and programs none at all.
        Model::Linear | Model::Constant | Model::Permuted { .. } | Model::Program => {
            let width = dataset.width;
            build.dense_stack(width, &[], outputs(&dataset.target))?
        }
    };
    Ok(Network { root: Arc::new(Chain(layers)), parameters: build.parameters })
}

/// One output a class, or one for a value.
pub fn outputs(target: &Target) -> usize {
    match target {
        Target::Classes { classes, .. } | Target::Masks { classes, .. } => *classes as usize,
        Target::Values(_) => 1,
    }
}

type Layers = Vec<Box<dyn Layer>>;

struct Build<'a> {
    lanes: usize,
    copies: usize,
    device: &'a Device,
    parameters: Vec<Parameter>,
    /// Of the next layer that draws values.
    position: u64,
}

impl Build<'_> {
    fn mlp(&mut self, hyper: &Hyper, dataset: &Dataset) -> Result<Layers> {
        let mut layers: Layers = Vec::new();
        let mut width = dataset.width;
        let embed = hyper.layers.embed as usize;
        if embed > 0 && !dataset.levels.is_empty() {
            let (columns, wide) = self.columns(dataset, embed)?;
            layers.push(Box::new(EmbedLevels { columns }));
            width = wide;
        }
        layers.extend(self.dense_stack(width, &hyper.hidden, outputs(&dataset.target))?);
        Ok(layers)
    }

    fn columns(&mut self, dataset: &Dataset, embed: usize) -> Result<(Vec<Column>, usize)> {
        let (mut columns, mut at, mut wide) = (Vec::new(), 0, 0);
        let numbers = |columns: &mut Vec<Column>, start: usize, end: usize| {
            if start < end {
                columns.push(Column { start, width: end - start, table: None });
            }
            end.saturating_sub(start)
        };
        for levels in &dataset.levels {
            wide += numbers(&mut columns, at, levels.start);
            let table = self.parameter(levels.len(), embed, First::Normal(1.0))?;
            self.position += 1;
            columns.push(Column { start: levels.start, width: levels.len(), table: Some(table) });
            wide += embed;
            at = levels.end;
        }
        wide += numbers(&mut columns, at, dataset.width);
        Ok((columns, wide))
    }

    /// Hidden layers that rectify and drop, then one that does neither.
    fn dense_stack(&mut self, inputs: usize, hidden: &[u32], outputs: usize) -> Result<Layers> {
        let mut layers: Layers = Vec::new();
        let mut width = inputs;
        for &hidden in hidden {
            layers.push(Box::new(self.dense(width, hidden as usize, true, true)?));
            width = hidden as usize;
        }
        layers.push(Box::new(self.dense(width, outputs, false, false)?));
        Ok(layers)
    }

    /// Convolutions, each after the first halving the image, then a dense stack.
    fn cnn(&mut self, hyper: &Hyper, dataset: &Dataset) -> Result<Layers> {
        let mut image = Image::of(dataset, "cnn")?;
        let mut layers: Layers = vec![image.cut()];
        for (place, &channels) in hyper.layers.channels.iter().enumerate() {
            let stride = if place == 0 { 1 } else { 2 };
            let separable = hyper.layers.separable && place > 0;
            let mut stride_left = stride;
            if separable {
                let kind = Kind::ByChannel;
                let own = image.channels;
                layers.extend(self.conv(&mut image, hyper, own, kind, stride_left)?);
                stride_left = 1;
            }
            let kernel = if separable { 1 } else { hyper.layers.kernel as usize };
            layers.extend(self.conv_of(
                &mut image,
                hyper.layers.norm,
                channels as usize,
                (kernel, stride_left),
            )?);
        }
        let flat = image.pixels() * image.channels;
        layers.push(Box::new(Reshape { joins: image.pixels(), cuts: 0 }));
        if hyper.hidden.is_empty() {
            layers.push(Box::new(Drop { of_place: 1 }));
        }
        layers.extend(self.dense_stack(flat, &hyper.hidden, outputs(&dataset.target))?);
        Ok(layers)
    }

    /// A convolution by `kind`, rectified, without a norm.
    fn conv(
        &mut self,
        image: &mut Image,
        hyper: &Hyper,
        outputs: usize,
        kind: Kind,
        stride: usize,
    ) -> Result<Layers> {
        let geometry = image.geometry(hyper.layers.kernel as usize, stride, outputs);
        let layer = self.convolution(kind, geometry, true, true)?;
        image.becomes(&geometry);
        Ok(vec![Box::new(layer)])
    }

    /// A plain convolution of (kernel, stride), its norm, and a rectifier.
    fn conv_of(
        &mut self,
        image: &mut Image,
        norm: Norm,
        outputs: usize,
        (kernel, stride): (usize, usize),
    ) -> Result<Layers> {
        let geometry = image.geometry(kernel, stride, outputs);
        let plain = norm == Norm::None;
        let mut layers: Layers =
            vec![Box::new(self.convolution(Kind::Plain, geometry, plain, plain)?)];
        image.becomes(&geometry);
        if !plain {
            layers.push(self.norm(norm, image)?);
            layers.push(Box::new(Rectify));
        }
        Ok(layers)
    }

    /// He et al. (2016): a stem, stages of residual blocks of which each after the first halves the
    /// image, the mean over pixels, a dense layer.
    fn resnet(&mut self, hyper: &Hyper, dataset: &Dataset) -> Result<Layers> {
        let mut image = Image::of(dataset, "resnet")?;
        let (norm, kernel) = (hyper.layers.norm, hyper.layers.kernel as usize);
        let first = hyper.layers.channels.first().copied().unwrap_or(16) as usize;
        let mut layers: Layers = vec![image.cut()];
        layers.extend(self.conv_of(&mut image, norm, first, (kernel, 1))?);
        for (stage, &channels) in hyper.layers.channels.iter().enumerate() {
            for block in 0..hyper.layers.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                layers.push(self.block(&mut image, norm, channels as usize, (kernel, stride))?);
                layers.push(Box::new(Rectify));
            }
        }
        layers.push(Box::new(MeanOver(image.pixels())));
        layers.push(Box::new(Drop { of_place: 1 }));
        layers.extend(self.dense_stack(image.channels, &[], outputs(&dataset.target))?);
        Ok(layers)
    }

    fn block(
        &mut self,
        image: &mut Image,
        norm: Norm,
        channels: usize,
        (kernel, stride): (usize, usize),
    ) -> Result<Box<dyn Layer>> {
        let mut before = *image;
        let mut body = self.conv_of(image, norm, channels, (kernel, stride))?;
        let geometry = image.geometry(kernel, 1, channels);
        body.push(Box::new(self.convolution(Kind::Plain, geometry, norm == Norm::None, false)?));
        if norm != Norm::None {
            body.push(self.norm(norm, image)?);
        }
        let same = stride == 1 && before.channels == channels;
        let shortcut = match same {
            true => None,
            false => {
                let geometry = before.geometry(1, stride, channels);
                before.becomes(&geometry);
                let conv = self.convolution(Kind::Plain, geometry, norm == Norm::None, false)?;
                let mut shortcut: Layers = vec![Box::new(conv)];
                if norm != Norm::None {
                    shortcut.push(self.norm(norm, &before)?);
                }
                Some(Chain(shortcut))
            }
        };
        Ok(Box::new(Residual { body: Chain(body), shortcut }))
    }

    /// Ronneberger et al. (2015), with padding: two convolutions a level, halved by pooling on the
    /// way down, doubled by a transposed convolution on the way up.
    fn unet(&mut self, hyper: &Hyper, dataset: &Dataset) -> Result<Layers> {
        let Target::Masks { .. } = &dataset.target else {
            bail!("a unet needs a mask for each image")
        };
        let image = Image::of(dataset, "unet")?;
        let levels = hyper.layers.channels.len();
        let halvings = 1usize << levels.saturating_sub(1);
        if !image.height.is_multiple_of(halvings) || !image.width.is_multiple_of(halvings) {
            bail!(
                "a unet of {levels} levels needs images whose sides {halvings} divides, and these \
                 are {} by {}; write fewer channels, or a size in [data]",
                image.height,
                image.width
            );
        }
        let mut at = image;
        let mut layers: Layers = vec![image.cut()];
        layers.extend(self.level(&mut at, hyper, &hyper.layers.channels)?);
        let geometry = at.geometry(1, 1, outputs(&dataset.target));
        layers.push(Box::new(self.convolution(Kind::Plain, geometry, true, false)?));
        Ok(layers)
    }

    /// A level and all below it; `image` ends as high as it began.
    fn level(&mut self, image: &mut Image, hyper: &Hyper, channels: &[u32]) -> Result<Layers> {
        let (norm, kernel) = (hyper.layers.norm, hyper.layers.kernel as usize);
        let Some((&own, below)) = channels.split_first() else { return Ok(Vec::new()) };
        let own = own as usize;
        let mut layers = self.conv_of(image, norm, own, (kernel, 1))?;
        layers.extend(self.conv_of(image, norm, own, (kernel, 1))?);
        if below.is_empty() {
            layers.push(Box::new(Drop { of_place: image.pixels() }));
            return Ok(layers);
        }
        let across = *image;
        let squares =
            Squares { height: image.height, width: image.width, channels: own, side: (2, 2) };
        let mut body: Layers = vec![Box::new(Pool(squares))];
        image.height /= 2;
        image.width /= 2;
        body.extend(self.level(image, hyper, below)?);
        let up = Geometry {
            height: across.height,
            width: across.width,
            channels: own,
            kernel: (2, 2),
            stride: (2, 2),
            pad: (0, 0),
            outputs: image.channels,
        };
        body.push(Box::new(self.convolution(Kind::Transposed, up, true, false)?));
        layers.push(Box::new(Beside { body: Chain(body), channels: own }));
        *image = Image { channels: 2 * own, ..across };
        layers.extend(self.conv_of(image, norm, own, (kernel, 1))?);
        layers.extend(self.conv_of(image, norm, own, (kernel, 1))?);
        Ok(layers)
    }

    /// Vaswani et al. (2017), norms first (Xiong et al. 2020): tokens or vectors with their places,
    /// encoder layers, a norm, the mean over tokens, a dense layer.
    fn transformer(&mut self, hyper: &Hyper, dataset: &Dataset) -> Result<Layers> {
        let (width, heads) = (hyper.layers.width as usize, hyper.layers.heads as usize);
        if !width.is_multiple_of(heads.max(1)) {
            bail!("a transformer's width, {width}, must be a multiple of its heads, {heads}");
        }
        let (tokens, channels) = match (dataset.tokens, dataset.shape.as_slice()) {
            (Some(_), _) => (dataset.width, 1),
            (None, &[tokens, channels]) => (tokens, channels),
            (None, &[height, width, channels]) => (height, width * channels),
            _ => (dataset.width, 1),
        };
        let mut layers: Layers = vec![Box::new(Reshape { joins: 0, cuts: tokens })];
        match dataset.tokens {
            Some(many) => {
                let table = self.parameter(many as usize, width, First::Normal(1.0))?;
                self.position += 1;
                layers.push(Box::new(Embed { table }));
            }
            None => layers.push(Box::new(self.dense(channels, width, false, false)?)),
        }
        let table = self.parameter(tokens, width, First::Normal(0.02))?;
        self.position += 1;
        layers.push(Box::new(Places { table }));
        for _ in 0..hyper.layers.blocks {
            let attention = Attention(Heads { tokens, heads, width });
            let body: Layers = vec![
                self.layer_norm(width)?,
                Box::new(self.dense(width, 3 * width, false, false)?),
                Box::new(attention),
                Box::new(self.dense(width, width, false, false)?),
                Box::new(Drop { of_place: tokens }),
            ];
            layers.push(Box::new(Residual { body: Chain(body), shortcut: None }));
            let wide = hyper.hidden.first().map_or(2 * width, |&wide| wide as usize);
            let body: Layers = vec![
                self.layer_norm(width)?,
                Box::new(self.dense(width, wide, true, false)?),
                Box::new(self.dense(wide, width, false, false)?),
                Box::new(Drop { of_place: tokens }),
            ];
            layers.push(Box::new(Residual { body: Chain(body), shortcut: None }));
        }
        layers.push(self.layer_norm(width)?);
        layers.push(Box::new(MeanOver(tokens)));
        layers.extend(self.dense_stack(width, &[], outputs(&dataset.target))?);
        Ok(layers)
    }

    fn dense(
        &mut self,
        inputs: usize,
        outputs: usize,
        rectifies: bool,
        drops: bool,
    ) -> Result<Dense> {
        let first = First::Uniform(1.0 / (inputs as f32).sqrt());
        let weights = self.parameter(inputs, outputs, first)?;
        let biases = self.parameter(1, outputs, first)?;
        self.position += 1;
        Ok(Dense { weights, biases, rectifies, drops })
    }

    fn convolution(
        &mut self,
        kind: Kind,
        geometry: Geometry,
        has_biases: bool,
        rectifies: bool,
    ) -> Result<Conv> {
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let (rows, columns, inputs, said) = match kind {
            Kind::Plain => {
                (geometry.window(), geometry.outputs, geometry.window(), geometry.outputs)
            }
            Kind::ByChannel => (taps, geometry.channels, taps, geometry.channels),
            // PyTorch counts the numbers that one output channel's kernel has.
            Kind::Transposed => {
                (geometry.window(), geometry.outputs, geometry.window(), geometry.channels)
            }
        };
        let first = First::Uniform(1.0 / (inputs as f32).sqrt());
        let weights = self.parameter(rows, columns, first)?;
        let biases = has_biases.then(|| self.parameter(1, said, first)).transpose()?;
        self.position += 1;
        Ok(Conv { kind, geometry, weights, biases, rectifies })
    }

    /// Of an image's channels; groups of group norm have four channels, or as many as divide them.
    fn norm(&mut self, norm: Norm, image: &Image) -> Result<Box<dyn Layer>> {
        let (width, rows) = (image.channels, image.pixels());
        let (scale, shift) = self.scale_and_shift(width)?;
        let groups = match norm {
            Norm::Group => {
                (1..=width.div_ceil(4)).rev().find(|n| width.is_multiple_of(*n)).unwrap_or(1)
            }
            _ => 1,
        };
        let layer: Box<dyn Layer> = match norm {
            Norm::Batch => {
                let running = self.parameter(2, width, First::Moments)?;
                if let Some(running) = self.parameters.last_mut() {
                    running.trained = false;
                }
                Box::new(BatchNorm { scale, shift, running, of_place: rows })
            }
            _ => Box::new(SetNorm { scale, shift, sets: Sets { rows, groups } }),
        };
        self.position += 1;
        Ok(layer)
    }

    fn layer_norm(&mut self, width: usize) -> Result<Box<dyn Layer>> {
        let (scale, shift) = self.scale_and_shift(width)?;
        self.position += 1;
        Ok(Box::new(SetNorm { scale, shift, sets: Sets { rows: 1, groups: 1 } }))
    }

    fn scale_and_shift(&mut self, width: usize) -> Result<(usize, usize)> {
        let scale = self.parameter(1, width, First::Fixed(1.0))?;
        Ok((scale, self.parameter(1, width, First::Fixed(0.0))?))
    }

    fn parameter(&mut self, rows: usize, columns: usize, first: First) -> Result<usize> {
        let shape = (self.copies, self.lanes, rows, columns);
        let state = Tensor::zeros(shape, DType::F32, self.device)?;
        let values = state.get(0)?;
        let position = self.position;
        self.parameters.push(Parameter { state, values, first, position, trained: true });
        Ok(self.parameters.len() - 1)
    }
}

/// What a layer is given.
#[derive(Clone, Copy, Debug)]
struct Image {
    height: usize,
    width: usize,
    channels: usize,
}

impl Image {
    fn of(dataset: &Dataset, model: &str) -> Result<Self> {
        match *dataset.shape.as_slice() {
            [height, width, channels] => Ok(Self { height, width, channels }),
            [width, channels] => Ok(Self { height: 1, width, channels }),
            _ => {
                bail!("a {model} needs rows that are images or sequences, and these are of a table")
            }
        }
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// From one row an image to one a pixel.
    fn cut(&self) -> Box<dyn Layer> {
        Box::new(Reshape { joins: 0, cuts: self.pixels() })
    }

    /// Of a convolution that keeps the image's size, or divides it by `stride`.
    fn geometry(&self, kernel: usize, stride: usize, outputs: usize) -> Geometry {
        let flat = self.height == 1;
        let across = |number: usize, of_flat: usize| if flat { of_flat } else { number };
        Geometry {
            height: self.height,
            width: self.width,
            channels: self.channels,
            kernel: (across(kernel, 1), kernel),
            stride: (across(stride, 1), stride),
            pad: (across(kernel / 2, 0), kernel / 2),
            outputs,
        }
    }

    fn becomes(&mut self, geometry: &Geometry) {
        self.height = geometry.out_height();
        self.width = geometry.out_width();
        self.channels = geometry.outputs;
    }
}
