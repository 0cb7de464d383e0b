//! The lead of every seed as it looks, and what is left of it when luck is taken away.
//!
//! Floor: core.

use common::stats::winner;

use super::super::content::{ArmDrawn, LotteryPart, Report};
use super::super::number::{beside, counted};
use super::super::page::{Sheet, columns};
use super::canvas::{Align, Canvas, Ink, Scale, text_width};
use super::{Figure, sign_of};

/// `None` where no arm has three seeds and a spread that was divided.
pub fn winner(report: &Report) -> Option<Figure> {
    let funnels: Vec<Funnel<'_>> =
        report.lottery.iter().filter_map(|part| Funnel::of(report, part)).collect();
    if funnels.is_empty() {
        return None;
    }
    let caption = format!(
        "Lead of each seed over its arm's mean, in {} ({}): above as it was seen, below what is left \
         of it for the same model on other rows. The narrower the lines run together, the more of a \
         lead was luck; where they meet in one point, all of it was. The triangle is the seed that \
         looked best.{}",
        report.study.metric,
        report.study.goal,
        match funnels.len() {
            all if all > PANELS_MAX => format!(" The first {PANELS_MAX} of {all} arms are drawn."),
            _ => String::new(),
        }
    );
    Some(Figure::drawn("winner", caption, sheet(&funnels), |width, caption| {
        draw(report, &funnels[..funnels.len().min(PANELS_MAX)], width, caption)
    }))
}

struct Funnel<'a> {
    part: &'a LotteryPart,
    /// Label, mean minus the arm's, in the order of seeds.
    leads: Vec<(&'a str, f64)>,
    /// Share of a lead that stays.
    reliability: f64,
}

impl<'a> Funnel<'a> {
    fn of(report: &'a Report, part: &'a LotteryPart) -> Option<Self> {
        let drawn: &ArmDrawn = report.drawn.arms.iter().find(|arm| arm.arm == part.arm)?;
        let values: Vec<f64> = drawn.seeds.iter().map(|(_, mean)| *mean).collect();
        let variance = |factor: &str| {
            let of_arm = |component: &&super::super::content::ComponentPart| {
                component.arm.as_ref() == Some(&part.arm) && component.factor == factor
            };
            report.components.iter().find(of_arm).map(|component| component.variance)
        };
        let [factor] = report.design.seeds.keys().collect::<Vec<_>>()[..] else { return None };
        let per_seed = drawn.runs.len() as f64 / values.len().max(1) as f64;
        let larger = report.study.goal == "larger is better";
        let (seed, residual) = (variance(factor)?, variance("residual")?);
        let best = winner::best_seed(&values, seed, residual, per_seed, larger).ok()?;
        let leads = drawn.seeds.iter().map(|(label, mean)| (label.as_str(), mean - best.mean));
        Some(Self { part, leads: leads.collect(), reliability: best.reliability })
    }
}

impl Funnel<'_> {
    /// The leads that are drawn: of very many every so manieth in order of size, and the best one
    /// last, so that nothing lies on it.
    fn drawn(&self) -> Vec<(&str, f64)> {
        let is_best = |(label, _): &&(&str, f64)| *label == self.part.best_seed;
        let mut sorted: Vec<(&str, f64)> =
            self.leads.iter().filter(|lead| !is_best(lead)).copied().collect();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        let every = sorted.len().div_ceil(LEADS_MAX).max(1);
        sorted.into_iter().step_by(every).chain(self.leads.iter().find(is_best).copied()).collect()
    }
}

fn draw(report: &Report, funnels: &[Funnel<'_>], width: f64, caption: &str) -> String {
    let bottom = funnels.len() as f64 * PANEL;
    let mut canvas = Canvas::new(width, bottom + super::axes::BELOW);
    let gutter = text_width("what is left") + 8.0;
    let leads = funnels.iter().flat_map(|funnel| funnel.leads.iter().map(|(_, lead)| *lead));
    let scale = Scale::around(leads.chain([0.0]), gutter, width - 8.0);
    let title = format!("lead in {}", report.study.metric);
    canvas.axis_below(&scale, 26.0, bottom, &title);
    canvas.line((scale.at(0.0), 26.0), (scale.at(0.0), bottom), Ink::Faint, 1.0);
    for (place, funnel) in funnels.iter().enumerate() {
        let top = place as f64 * PANEL;
        let after = format!(": {:.0} % of a lead stays", (100.0 * funnel.reliability).abs());
        canvas.bold((0.0, top + 15.0), &funnel.part.arm, &after, width);
        let (seen, left) = (top + 38.0, top + PANEL - 22.0);
        canvas.text((0.0, seen + 4.5), "as seen", Align::Start, Ink::Faint);
        canvas.text((0.0, left + 4.5), "what is left", Align::Start, Ink::Faint);
        let ink = sign_of(report, &funnel.part.arm).1;
        let is_best = |label: &str| label == funnel.part.best_seed;
        for (label, lead) in funnel.drawn() {
            let (from, to) = (scale.at(lead), scale.at(lead * funnel.reliability));
            let scale_of = funnel.part.expected_gain / 10.0;
            canvas.begin(&format!(
                "seed {label}: {} as seen, {} left",
                beside(lead, scale_of),
                beside(lead * funnel.reliability, scale_of)
            ));
            let (shape, thick, ink) =
                if is_best(label) { (3, 2.5, Ink::Text) } else { (0, 1.0, ink) };
            canvas.line((from, seen), (to, left), ink, thick);
            let radius = match is_best(label) {
                true => 6.0,
                false if funnel.leads.len() > LEADS_LARGE => 2.0,
                false => 4.0,
            };
            canvas.symbol((from, seen), radius, shape, ink);
            canvas.symbol((to, left), radius, shape, ink);
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn sheet(funnels: &[Funnel<'_>]) -> Sheet {
    let rows = funnels.iter().flat_map(|funnel| {
        let scale = funnel.part.expected_gain / 10.0;
        funnel.leads.iter().map(move |(label, lead)| {
            vec![
                funnel.part.arm.clone(),
                label.to_string(),
                beside(*lead, scale),
                beside(lead * funnel.reliability, scale),
            ]
        })
    });
    Sheet {
        title: format!(
            "Leads of seeds over the mean of their arm ({})",
            counted(funnels.iter().map(|funnel| funnel.leads.len() as u64).sum(), "seed")
        ),
        columns: columns(&["Arm", "Seed", "As seen", "What is left"], 2),
        rows: rows.collect(),
        legend: Vec::new(),
    }
}

const PANEL: f64 = 138.0;
const PANELS_MAX: usize = 6;
const LEADS_MAX: usize = 150;
const LEADS_LARGE: usize = 40;
