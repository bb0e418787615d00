//! The handles of one metric: one per combination of its labels' values, found by arithmetic and not by hashing
//! strings.

use std::sync::{Arc, OnceLock};

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::names::{METRICS, MetricSpec};

/// Families with at most this many series have all of them from the start, at zero, so that a rate over the first event
/// is right. Larger ones get a series when it is first used: a scrape that carries thousands of zeros helps nobody.
const SERIES_AT_START_MAX: usize = 128;

/// Every series goes through the same metadata; the exporter does not use it.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Something that a recorder hands out for one series.
pub(super) trait Handle: Sized {
    /// Registers the series, or finds it when it is there already.
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self;
}

/// All handles of one metric.
pub(super) struct Family<H> {
    spec: &'static MetricSpec,
    recorder: Arc<PrometheusRecorder>,
    /// In mixed radix: the last label varies fastest. Length is the product of the labels' value counts.
    cells: Box<[OnceLock<H>]>,
}

impl<H: Handle> Family<H> {
    /// The family of the metric called `name`, which must have listed values for each of its labels.
    pub(super) fn new(recorder: &Arc<PrometheusRecorder>, name: &str) -> Self {
        let spec = spec(name);
        let series = spec.labels.iter().map(|label| label.values.len()).product();
        assert_ne!(series, 0, "the values of {name}'s labels are not listed: use an OpenFamily");
        let cells = (0..series).map(|_| OnceLock::new()).collect();
        let family = Self { spec, recorder: Arc::clone(recorder), cells };
        if series <= SERIES_AT_START_MAX {
            for index in 0..series {
                family.cell(index);
            }
        }
        family
    }

    /// The handle for these label values, in the order of the metric's labels; see
    /// [`LabelSpec::position`](super::names::LabelSpec::position) for values that are not listed.
    pub(super) fn with<const LABELS: usize>(&self, values: [&str; LABELS]) -> &H {
        let mut positions = [0; LABELS];
        for (position, (label, value)) in positions.iter_mut().zip(self.spec.labels.iter().zip(values)) {
            *position = label.position(value);
        }
        self.at(positions)
    }

    /// The handle for the values at these positions of the labels' lists.
    pub(super) fn at<const LABELS: usize>(&self, positions: [usize; LABELS]) -> &H {
        debug_assert_eq!(LABELS, self.spec.labels.len(), "labels of {}", self.spec.name);
        let labels = self.spec.labels.iter().zip(positions);
        self.cell(labels.fold(0, |index, (label, position)| index * label.values.len() + position))
    }

    fn cell(&self, index: usize) -> &H {
        self.cells[index].get_or_init(|| {
            let mut rest = index;
            let mut labels: Vec<Label> = Vec::with_capacity(self.spec.labels.len());
            for label in self.spec.labels.iter().rev() {
                labels.push(Label::new(label.name, label.values[rest % label.values.len()]));
                rest /= label.values.len();
            }
            labels.reverse();
            H::register(&self.recorder, &Key::from_parts(self.spec.name, labels))
        })
    }
}

/// Counters of a metric whose single label has values that the code names: `&'static str`, hence bounded. Each use
/// looks the series up in the recorder's registry, so this is for failures and not for the way of every request.
pub(super) struct OpenFamily {
    spec: &'static MetricSpec,
    recorder: Arc<PrometheusRecorder>,
}

impl OpenFamily {
    /// The family of the metric called `name`.
    pub(super) fn new(recorder: &Arc<PrometheusRecorder>, name: &str) -> Self {
        let spec = spec(name);
        assert_eq!(spec.labels.len(), 1, "{name} does not have exactly one label");
        Self { spec, recorder: Arc::clone(recorder) }
    }

    /// The counter for this value.
    pub(super) fn with(&self, value: &'static str) -> Counter {
        let label = Label::new(self.spec.labels[0].name, value);
        Counter::register(&self.recorder, &Key::from_parts(self.spec.name, vec![label]))
    }
}

/// The handle of a metric without labels.
pub(super) fn single<H: Handle>(recorder: &PrometheusRecorder, name: &str) -> H {
    let spec = spec(name);
    assert!(spec.labels.is_empty(), "{name} has labels: use a Family");
    H::register(recorder, &Key::from_name(spec.name))
}

fn spec(name: &str) -> &'static MetricSpec {
    METRICS.iter().find(|spec| spec.name == name).expect("every metric that is registered stands in METRICS")
}

impl Handle for Counter {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_counter(key, &METADATA)
    }
}

impl Handle for Gauge {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_gauge(key, &METADATA)
    }
}

impl Handle for Histogram {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_histogram(key, &METADATA)
    }
}
