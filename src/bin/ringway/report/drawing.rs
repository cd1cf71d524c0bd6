//! How pictures are drawn: lines, rows, axes and legends, each picture once for wide windows and
//! once for narrow ones.
//!
//! Colours are drawn as marks that the page's style gives their meaning, so that a picture is
//! light or dark as its reader's screen is.

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::element::{DynElement, IntoDynElement};
use plotters::prelude::*;

use crate::model::time;

/// One picture.
pub struct Picture {
    pub title: String,
    pub caption: String,
    pub wide: String,
    pub narrow: String,
}

const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
pub const SERIES: [RGBColor; 5] =
    [RGBColor(3, 3, 3), RGBColor(4, 4, 4), RGBColor(5, 5, 5), RGBColor(6, 6, 6), RGBColor(7, 7, 7)];

/// How long the dashes and the gaps of lines are in each turn of the colours; first they have none.
const DASHES: [Option<(i32, i32)>; 4] = [None, Some((10, 5)), Some((2, 5)), Some((18, 4))];
/// So many lines of a kind can be told from each other.
pub const LINES_MAX: usize = SERIES.len() * DASHES.len();

/// Gives the marks their meaning.
pub fn themed(svg: &str) -> String {
    let names = ["ink", "grid", "s1", "s2", "s3", "s4", "s5"];
    names.iter().enumerate().fold(svg.to_owned(), |svg, (index, name)| {
        let mark = index + 1;
        let color = format!("#{mark:02X}{mark:02X}{mark:02X}");
        svg.replace(&color, &format!("var(--{name})"))
    })
}

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = Result<(), Box<dyn std::error::Error>>;

/// What depends on how wide a picture is.
#[derive(Clone, Copy)]
pub struct Look {
    pub size: (u32, u32),
    pub font: u32,
    pub narrow: bool,
}

impl Look {
    fn line_height(self) -> i32 {
        i32::try_from(self.font).unwrap_or(15) + 6
    }

    const fn legend_columns(self) -> usize {
        if self.narrow { 1 } else { 2 }
    }

    const fn legend_rows(self, entries: usize) -> usize {
        entries.div_ceil(self.legend_columns())
    }
}

/// Draws a picture in both widths; none if it cannot be drawn.
pub fn picture(
    title: impl Into<String>,
    caption: impl Into<String>,
    draw: impl Fn(&Area<'_>, Look) -> Drawn,
) -> Option<Picture> {
    picture_of_height(title, caption, |look| look.size.1, draw)
}

/// The same of lines, higher as their legend is.
pub fn picture_of_lines(
    title: impl Into<String>,
    caption: impl Into<String>,
    all: &[Series],
    draw: impl Fn(&Area<'_>, Look) -> Drawn,
) -> Option<Picture> {
    let height = |look: Look| {
        let usual_rows = if look.narrow { 5 } else { 3 };
        let more = look.legend_rows(all.len()).saturating_sub(usual_rows);
        look.size.1 + look.line_height().unsigned_abs() * u32::try_from(more).unwrap_or(0)
    };
    picture_of_height(title, caption, height, draw)
}

/// The same, as high as is said for each width with its usual height.
fn picture_of_height(
    title: impl Into<String>,
    caption: impl Into<String>,
    height: impl Fn(Look) -> u32,
    draw: impl Fn(&Area<'_>, Look) -> Drawn,
) -> Option<Picture> {
    let svg = |look: Look| {
        let look = Look { size: (look.size.0, height(look)), ..look };
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, look.size).into_drawing_area();
            draw(&area, look).ok()?;
            area.present().ok()?;
        }
        Some(svg)
    };
    let wide = svg(Look { size: (940, 460), font: 18, narrow: false })?;
    let narrow = svg(Look { size: (400, 420), font: 17, narrow: true })?;
    Some(Picture { title: title.into(), caption: caption.into(), wide, narrow })
}

/// A line of points, in the order of where they are.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// From and to, at the same places as the points.
    pub ranges: Vec<(f64, f64, f64)>,
    pub color: RGBColor,
    /// How often all colours have been used up before: it has other dashes and dots then.
    pub turn: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Line,
    Dashes,
    Dots,
    LineAndDots,
}

impl Series {
    pub fn new(name: impl Into<String>, color: usize, kind: Kind, points: Vec<(f64, f64)>) -> Self {
        let fits = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite() && point.1 > 0.0;
        let mut points: Vec<_> = points.into_iter().filter(fits).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        let turn = color / SERIES.len() % DASHES.len();
        let color = SERIES[color % SERIES.len()];
        Self { name: name.into(), points, ranges: Vec::new(), color, turn, kind }
    }

    /// How its line is drawn, if it has one.
    fn line(&self) -> Option<Line> {
        match self.kind {
            Kind::Line | Kind::LineAndDots => {
                Some(DASHES[self.turn].map_or(Line::Whole, |(dash, gap)| Line::Dashed(dash, gap)))
            }
            Kind::Dashes => Some(Line::Dashed(6, 4)),
            Kind::Dots => None,
        }
    }

    const fn has_dots(&self) -> bool {
        matches!(self.kind, Kind::Dots | Kind::LineAndDots)
    }

    fn dot<DB: DrawingBackend, C: Clone + 'static>(&self, at: C) -> DynElement<'static, DB, C> {
        let (full, bare) = (self.color.filled(), self.color.stroke_width(2));
        match self.turn {
            0 => Circle::new(at, 4, full).into_dyn(),
            1 => TriangleMarker::new(at, 6, full).into_dyn(),
            2 => Cross::new(at, 4, bare).into_dyn(),
            _ => Circle::new(at, 4, bare).into_dyn(),
        }
    }
}

enum Line {
    Whole,
    /// With dashes and gaps of so many points.
    Dashed(i32, i32),
}

/// How an axis is called, what its marks say, and where it ends.
pub struct Axis<'a> {
    pub name: &'a str,
    pub mark: &'a dyn Fn(f64) -> String,
    pub marks: usize,
    pub range: (f64, f64),
}

/// Decades that hold all of these, one at least.
pub fn decades(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (least, most) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(least, most), it| (least.min(it), most.max(it)));
    if most <= 0.0 {
        return None;
    }
    let from = least.log10().floor().max(-9.0);
    let to = most.log10().ceil().clamp(from + 1.0, from + 30.0);
    Some((10_f64.powf(from), 10_f64.powf(to)))
}

/// Lines over an even axis, with a logarithmic one upwards.
fn lines(area: &Area<'_>, look: Look, x: &Axis<'_>, y: &Axis<'_>, all: &[Series]) -> Drawn {
    // A last mark that stands half outside is cut off without it.
    let right = if look.narrow { 26 } else { 44 };
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(12)
        .margin_right(right)
        .margin_bottom(6)
        .margin_left(2)
        .x_label_area_size(if look.narrow { 52 } else { 58 })
        .y_label_area_size(if look.narrow { 84 } else { 100 });
    let (from, to) = x.range;
    let range = (y.range.0..y.range.1).log_scale();
    let mut chart = builder.build_cartesian_2d(from..to, range)?;
    mesh(&mut chart, look, x, y)?;
    for series in all {
        let style = series.color.stroke_width(2);
        let points = series.points.iter().copied();
        match series.line() {
            Some(Line::Whole) => {
                chart.draw_series(LineSeries::new(points, style))?;
            }
            Some(Line::Dashed(dash, gap)) => {
                chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?;
            }
            None => {}
        }
        for (at, low, high) in &series.ranges {
            let ends = [(*at, low.max(y.range.0)), (*at, high.min(y.range.1))];
            chart.draw_series(LineSeries::new(ends, style))?;
        }
        if series.has_dots() {
            chart.draw_series(series.points.iter().map(|point| series.dot(*point)))?;
        }
    }
    Ok(())
}

pub fn mesh<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    look: Look,
    x: &Axis<'_>,
    y: &Axis<'_>,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let font = ("sans-serif", look.font).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_desc(x.name)
        .y_desc(y.name)
        .x_labels(x.marks)
        .y_labels(y.marks)
        .x_label_formatter(&|value| (x.mark)(*value))
        .y_label_formatter(&|value| (y.mark)(*value))
        .label_style(font.clone())
        .axis_desc_style(font)
        .draw()?;
    Ok(())
}

/// The same, with a line for each series that says what it is, above the picture.
pub fn lines_with_legend(
    area: &Area<'_>,
    look: Look,
    x: &Axis<'_>,
    y: &Axis<'_>,
    all: &[Series],
) -> Drawn {
    const WIDTH: i32 = 28;
    let (line_height, columns) = (look.line_height(), look.legend_columns());
    let rows = look.legend_rows(all.len());
    let height = line_height * i32::try_from(rows).unwrap_or(1) + 4;
    let (legend, chart) = area.split_vertically(height);
    let font = ("sans-serif", look.font).into_font().color(&INK);
    let width = i32::try_from(look.size.0).unwrap_or(400);
    for (index, series) in all.iter().enumerate() {
        let column = i32::try_from(index % columns).unwrap_or(0);
        let row = i32::try_from(index / columns).unwrap_or(0);
        let left = 14 + column * (width / i32::try_from(columns).unwrap_or(1));
        let middle = row * line_height + line_height / 2 + 2;
        let style = series.color.stroke_width(2);
        let dashes = match series.line() {
            Some(Line::Whole) => vec![(0, WIDTH)],
            Some(Line::Dashed(dash, gap)) => {
                let begins = (0..WIDTH).step_by(usize::try_from(dash + gap).unwrap_or(1));
                begins.map(|begin| (begin, (begin + dash).min(WIDTH))).collect()
            }
            None => Vec::new(),
        };
        for (from, to) in dashes {
            let ends = vec![(left + from, middle), (left + to, middle)];
            legend.draw(&PathElement::new(ends, style))?;
        }
        if series.has_dots() {
            legend.draw(&series.dot((left + WIDTH / 2, middle)))?;
        }
        let at = (left + 36, middle - i32::try_from(look.font).unwrap_or(15) / 2);
        legend.draw(&Text::new(series.name.clone(), at, font.clone()))?;
    }
    lines(&chart, look, x, y, all)
}

/// A figure in the row of what it is about.
pub struct Row {
    pub place: usize,
    pub value: f64,
    pub range: (f64, f64),
}

/// Named rows, one under the other, with a dot and a range for each figure of each series, over a
/// logarithmic axis.
pub fn rows(
    title: impl Into<String>,
    caption: impl Into<String>,
    names: &[String],
    series: &[(String, Vec<Row>)],
    mark: &dyn Fn(f64) -> String,
) -> Option<Picture> {
    let values = series.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.value));
    let (least, most) = decades(values)?;
    let count = u32::try_from(names.len()).ok().filter(|&count| count > 0)?;
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let longest = u32::try_from(longest).ok()?;
    let names_width = |look: Look| (16 + longest * look.font * 11 / 20).min(look.size.0 / 2);
    let draw = |area: &Area<'_>, look: Look| -> Drawn {
        let font = ("sans-serif", look.font).into_font().color(&INK);
        let line_height = look.line_height();
        let (legend, chart_area) = area.split_vertically(line_height + 4);
        let mut left = 14;
        for (index, (name, _)) in series.iter().enumerate() {
            let color = SERIES[index % SERIES.len()];
            legend.draw(&Circle::new((left, line_height / 2 + 2), 4, color.filled()))?;
            legend.draw(&Text::new(name.clone(), (left + 10, 4), font.clone()))?;
            left += 30 + i32::try_from(name.len()).unwrap_or(8) * i32::try_from(look.font)? * 3 / 5;
        }
        let mut builder = ChartBuilder::on(&chart_area);
        builder
            .margin_top(4)
            .margin_right(if look.narrow { 26 } else { 44 })
            .margin_bottom(6)
            .x_label_area_size(34)
            .y_label_area_size(names_width(look));
        let height = f64::from(count);
        let mut chart =
            builder.build_cartesian_2d((least..most).log_scale(), height - 0.5..-0.5)?;
        let name = |place: &f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let index = place.round().max(0.0) as usize;
            let is_whole = (place - place.round()).abs() < 0.01;
            names.get(index).filter(|_| is_whole).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .x_labels(if look.narrow { 3 } else { 6 })
            .y_labels(names.len() * 2)
            .x_label_formatter(&|value| mark(*value))
            .y_label_formatter(&name)
            .label_style(font)
            .draw()?;
        for (index, (_, rows)) in series.iter().enumerate() {
            let color = SERIES[index % SERIES.len()];
            for row in rows {
                let place = f64::from(u32::try_from(row.place)?);
                let (low, high) = (row.range.0.max(least), row.range.1.min(most));
                let ends = [(low, place), (high, place)];
                chart.draw_series(LineSeries::new(ends, color.stroke_width(2)))?;
                chart.draw_series([Circle::new((row.value, place), 4, color.filled())])?;
            }
        }
        Ok(())
    };
    picture_of_height(title, caption, |look| look.size.1.max(90 + 24 * count), draw)
}

/// A mark of a logarithmic axis of times.
pub fn time_mark(ns: f64) -> String {
    time(ns)
}
