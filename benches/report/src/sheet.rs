//! The frame of a chart: title, legend, names of the rows, and notes.

use crate::panel::{Area, Style, Tone, count, text};
use plotters::{
    prelude::{IntoDrawingArea, Rectangle, SVGBackend},
    style::{Color, RGBColor, WHITE, text_anchor::HPos},
};
use std::io;

pub const WIDTH: i32 = 1000;
pub const EDGE: i32 = 20;
/// Above the rows: title and legend.
pub const HEAD: i32 = 84;
/// Below them: the axis, and then the notes.
const FOOT: i32 = 46;
const NOTE: i32 = 18;
const BORDER: RGBColor = RGBColor(208, 215, 222);

/// A chart's sheet.
pub struct Sheet<'a> {
    pub title: &'a str,
    /// Of the dark bars, and of the light ones.
    pub legend: [&'a str; 2],
    /// The lines below.
    pub notes: &'a [&'a str],
    /// Width of the names' column, in pixels.
    pub names: i32,
    /// Of one row, in pixels.
    pub height: i32,
}

impl Sheet<'_> {
    /// Draws a sheet with these rows, each with whether it is ours.
    pub fn draw(&self, rows: &[(&str, bool)], panels: impl FnOnce(&Area<'_>) -> io::Result<()>) -> io::Result<String> {
        let mut svg = String::new();
        let bottom = HEAD + self.height * count(rows);
        let height = bottom + FOOT + NOTE * (count(self.notes) + 1);
        let area = SVGBackend::with_string(&mut svg, (WIDTH.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
        // The page may be dark, so the chart has its own background.
        area.fill(&WHITE).map_err(io::Error::other)?;
        area.draw(&Rectangle::new([(0, 0), (WIDTH - 1, height - 1)], BORDER.stroke_width(1))).map_err(io::Error::other)?;
        text(&area, self.title, (EDGE, 28), 18, Style { bold: true, ..Style::INK })?;
        self.draw_legend(&area)?;
        for (number, (name, ours)) in (0..).zip(rows) {
            let middle = HEAD + self.height * number + self.height / 2;
            text(&area, name, (EDGE + self.names - 10, middle), 13, Style { bold: *ours, h: HPos::Right, ..Style::INK })?;
        }
        panels(&area)?;
        for (line, note) in (0..).zip(self.notes) {
            text(&area, note, (EDGE, bottom + 60 + NOTE * line), 12, Style::QUIET)?;
        }
        area.present().map_err(io::Error::other)?;
        drop(area);
        Ok(svg)
    }

    fn draw_legend(&self, area: &Area<'_>) -> io::Result<()> {
        let mut left = EDGE;
        for (tone, what) in [Tone::Dark, Tone::Light].into_iter().zip(self.legend) {
            for ours in [true, false] {
                let square = Rectangle::new([(left, 50), (left + 11, 61)], tone.color(ours).filled());
                area.draw(&square).map_err(io::Error::other)?;
                left += 14;
            }
            text(area, what, (left + 4, 56), 13, Style::INK)?;
            left += 34 + 7 * count(what.as_bytes());
        }
        text(area, "blue: this library", (left, 56), 13, Style { color: Tone::Dark.color(true), ..Style::INK })
    }
}
