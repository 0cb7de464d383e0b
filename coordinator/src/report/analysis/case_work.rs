//! How long the model of single rows takes, by counts alone, so that every machine leaves out the same.
//!
//! Deliberately absent: what is left out.
//!
//! Floor: core.

/// How the effect of a row that suits some arms more than others is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `(1|row) + (1|arm:row)`.
    Plain,
    /// Of two arms: `(1|row) + (0 + z|row)` with z of a half and of minus a half. The variance of the
    /// intercepts is that of a row and half that of an arm and row; that of the slopes is twice the
    /// latter.
    Contrast,
}

/// Levels of the factors of a model, and its scores.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub scores: usize,
    pub arms: usize,
    pub rows: usize,
    /// Zero where nobody knows groups.
    pub groups: usize,
    /// Folds, over all partitions.
    pub blocks: usize,
    pub configs: usize,
    pub runs: usize,
    /// Partitions of the rows.
    pub partitions: usize,
}

impl Counts {
    /// Nanoseconds that a fit takes, about.
    pub fn work(&self, form: Form) -> f64 {
        let fit = match form {
            Form::Plain if self.arms > 1 => self.nested(),
            Form::Plain => self.dense(1.0, 1.0),
            Form::Contrast => self.dense(2.0, 2.0),
        };
        fit + NS_STREAM * self.scores as f64
    }

    /// With `each` effects of a row and of a group, `width` of them in one block of equations.
    fn dense(&self, each: f64, width: f64) -> f64 {
        let scores = self.scores as f64;
        let levels = [each * self.rows as f64, each * self.groups as f64];
        let levels = [levels[0], levels[1], self.blocks as f64, self.runs as f64];
        let largest = levels.iter().copied().fold(1.0, f64::max);
        let dense = levels.iter().sum::<f64>() - largest;
        // What the levels of the largest factor share with the others; pairs of columns of one row
        // meet each of these.
        let cells = scores + largest / width;
        let sparse = width * cells * (NS_CELL + NS_PAIR * cells * width / largest);
        EVALUATIONS * (sparse + NS_DENSE * dense.powi(3))
    }

    /// With rows inside of which `arm:row` lies: by whichever levels are taken out first.
    fn nested(&self) -> f64 {
        let number = |count: usize| count as f64;
        let (arms, rows, blocks) = (number(self.arms), number(self.rows), number(self.blocks));
        let (runs, partitions) = (number(self.runs), number(self.partitions));
        let groups = number(self.groups) * (1.0 + arms);
        let few = blocks + number(self.configs);
        // Rows, and then what all meet.
        let met = partitions * runs / blocks + 2.0;
        let by_row = rows * MOVED * met * met * partitions + (runs + few + groups).powi(3);
        // Folds, whose rows meet no run of another.
        let component = |inner: f64, own: f64| 2.0 * inner * inner * own + inner.powi(3);
        let by_fold =
            blocks * component((rows + groups + runs) / blocks, arms * rows / blocks) + few.powi(3);
        // The rows and runs of an arm and fold, and then rows over all arms.
        let (inner, own) = (runs / blocks / arms, rows / blocks);
        let shared = (inner + own) * own * own;
        let by_arm =
            arms * blocks * (component(inner, own) + 2.0 * shared) + (rows + groups + few).powi(3);
        let cheapest = if self.partitions > 1 { by_row } else { by_row.min(by_fold).min(by_arm) };
        let dense = rows + groups + few + runs;
        let once = NS_ONCE * dense.powi(3) + NS_GATHERED * dense * dense;
        EVALUATIONS_NESTED * (NS_NESTED * cheapest).min(NS_DENSE * dense.powi(3)) + once
    }
}

/// Of one evaluation of the criterion, in nanoseconds, as measured from 100 to 20,000 rows and from 50
/// to 1,000 runs: for each cell of the largest factor, for each pair of its level's cells, and for
/// each of the other levels to the third power.
const NS_CELL: f64 = 40.0;
const NS_PAIR: f64 = 0.7;
const NS_DENSE: f64 = 0.08;

/// For each score that is taken in.
const NS_STREAM: f64 = 1_000.0;

/// Evaluations of a fit: 31 to 96 were seen.
const EVALUATIONS: f64 = 70.0;

/// Of nested levels: for each multiplication, as measured from 200 to 1,000 rows, 3 to 8 arms and 60 to
/// 1,600 runs; multiplications that take as long as bringing one number of a row to what all meet; and
/// for each of the other levels to the third power and squared, once in a fit.
const NS_NESTED: f64 = 0.06;
const MOVED: f64 = 28.0;
const NS_ONCE: f64 = 0.08;
const NS_GATHERED: f64 = 40.0;

/// With those that look for confounded effects.
const EVALUATIONS_NESTED: f64 = 50.0;
