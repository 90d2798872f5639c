//! Bars beside each other on one axis, drawn in pixels.

use plotters::{
    coord::{Shift, ranged1d::Ranged, types::RangedCoordf64},
    prelude::{DrawingArea, PathElement, Rectangle, SVGBackend},
    style::{
        Color, FontFamily, FontStyle, IntoTextStyle, RGBColor, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};
use std::io;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const INK: RGBColor = RGBColor(31, 35, 40);
pub const QUIET: RGBColor = RGBColor(101, 109, 118);
const GRID: RGBColor = RGBColor(223, 227, 231);
const PAPER: RGBColor = RGBColor(255, 255, 255);
/// The longest bar, as a multiple of the middle one. A longer one would make the others too short to compare.
pub const LONGEST: f64 = 4.0;

/// Which of a panel's series a bar belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Dark,
    Light,
}

impl Tone {
    /// Ours stand out.
    pub fn color(self, ours: bool) -> RGBColor {
        match (self, ours) {
            (Self::Dark, true) => RGBColor(9, 105, 218),
            (Self::Light, true) => RGBColor(128, 184, 245),
            (Self::Dark, false) => RGBColor(110, 119, 129),
            (Self::Light, false) => RGBColor(190, 197, 204),
        }
    }
}

#[derive(Debug)]
pub struct Bar {
    pub from: f64,
    pub to: f64,
    pub tone: Tone,
    /// Which of the row's lanes, from the top.
    pub lane: i32,
    /// The text at its end.
    pub text: String,
}

#[derive(Debug)]
pub struct Panel {
    pub axis: &'static str,
    pub lanes: i32,
    /// How many times as long as the middle bar the longest may be before it is cut.
    pub longest: f64,
    /// A line through all rows.
    pub reference: Option<f64>,
    /// With whether it is ours.
    pub rows: Vec<(bool, Vec<Bar>)>,
}

/// Where a panel's bars are, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    /// Of one row.
    pub height: i32,
}

impl Panel {
    /// The axis's end: the longest bar there is room for.
    fn end(&self) -> f64 {
        let mut ends: Vec<f64> =
            self.rows.iter().filter_map(|(_, bars)| bars.iter().map(|bar| bar.to).reduce(f64::max)).collect();
        ends.sort_by(f64::total_cmp);
        let longest = ends.get(ends.len() / 2).map_or(1.0, |middle| middle * self.longest);
        ends.into_iter().rfind(|&end| end <= longest).filter(|&end| end > 0.0).unwrap_or(1.0)
    }

    /// `label` is the room kept right of the longest bar.
    pub fn draw(&self, area: &Area<'_>, frame: Frame, label: i32) -> io::Result<()> {
        let Frame { left, right, top, height } = frame;
        let (end, bottom) = (self.end(), top + height * count(&self.rows));
        let axis = RangedCoordf64::from(0.0..end);
        let limit = right - label;
        let x = |value: f64| axis.map(&value.min(end), (left, limit));
        let decimals = usize::from(end < 5.0);
        for tick in axis.key_points(6) {
            line(area, [(x(tick), top), (x(tick), bottom)], GRID)?;
            text(
                area,
                &number(tick, decimals),
                (x(tick), bottom + 6),
                11,
                Style { h: HPos::Center, v: VPos::Top, ..Style::QUIET },
            )?;
        }
        let middle = left.midpoint(limit);
        text(area, self.axis, (middle, bottom + 23), 12, Style { h: HPos::Center, v: VPos::Top, ..Style::QUIET })?;
        for (row, (ours, bars)) in (0..).zip(&self.rows) {
            let (above, thick) = (top + height * row + 5, (height - 10) / self.lanes);
            for bar in bars {
                let (y, cut) = (above + thick * bar.lane, bar.to > end);
                let (from, to) = (x(bar.from), if cut { right - label + 10 } else { x(bar.to) });
                let shape = Rectangle::new([(from, y), (to, y + thick - 1)], bar.tone.color(*ours).filled());
                area.draw(&shape).map_err(io::Error::other)?;
                if cut {
                    for shift in [-14, -8] {
                        line(area, [(to + shift, y + thick), (to + shift + 5, y - 1)], PAPER)?;
                    }
                }
                text(area, &bar.text, (to + 5, y + thick / 2), 12, Style { bold: *ours, ..Style::INK })?;
            }
        }
        line(area, [(left, top), (left, bottom)], QUIET)?;
        match self.reference {
            Some(value) => line(area, [(x(value), top), (x(value), bottom)], QUIET),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Style {
    pub color: RGBColor,
    pub bold: bool,
    pub h: HPos,
    pub v: VPos,
}

impl Style {
    pub const INK: Self = Self { color: INK, bold: false, h: HPos::Left, v: VPos::Center };
    pub const QUIET: Self = Self { color: QUIET, ..Self::INK };
}

/// Text of so many pixels.
pub fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, style: Style) -> io::Result<()> {
    // The backend divides by this.
    let font = (FontFamily::SansSerif, f64::from(size) * 1.24, if style.bold { FontStyle::Bold } else { FontStyle::Normal });
    let style: TextStyle<'_> = font.into_text_style(area).color(&style.color).pos(Pos::new(style.h, style.v));
    area.draw_text(text, &style, at).map_err(io::Error::other)
}

fn line(area: &Area<'_>, points: [(i32, i32); 2], color: RGBColor) -> io::Result<()> {
    area.draw(&PathElement::new(points, color)).map_err(io::Error::other)
}

/// With commas between thousands.
pub fn number(value: f64, decimals: usize) -> String {
    if decimals > 0 { format!("{value:.decimals$}") } else { crate::format::grouped(value.round() as u64) }
}

/// So that pixels can be multiplied with it.
pub fn count<T>(all: &[T]) -> i32 {
    i32::try_from(all.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Bar, Panel, Tone};

    fn end(values: &[f64]) -> f64 {
        let bar = |&to: &f64| (false, vec![Bar { from: 0.0, to, tone: Tone::Dark, lane: 0, text: String::new() }]);
        Panel { axis: "", lanes: 1, reference: None, longest: super::LONGEST, rows: values.iter().map(bar).collect() }.end()
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "one of the values as it is")]
    fn the_axis_ends_at_the_longest_bar_that_leaves_room_for_the_others() {
        assert_eq!(end(&[100.0, 120.0, 200.0]), 200.0);
        assert_eq!(end(&[100.0, 831_000.0, 120.0, 200.0]), 200.0, "four times the middle one is the most");
        assert_eq!(end(&[0.0, 0.0]), 1.0, "an axis has a length");
        assert_eq!(end(&[]), 1.0);
    }
}
