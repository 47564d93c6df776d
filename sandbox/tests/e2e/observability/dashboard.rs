//! The dashboard's form. Grafana publishes it as TypeScript types only (`@grafana/schema` 13.2.3,
//! `raw/dashboard/x`); what follows has their names, and checks by hand what a type cannot say. Whether Grafana
//! shows it well, nobody but Grafana can tell.

use super::folder;
use serde_json::Value;
use std::{collections::BTreeSet, fs};

const DASHBOARD: [&str; 24] = [
    "annotations",
    "description",
    "editable",
    "fiscalYearStartMonth",
    "gnetId",
    "graphTooltip",
    "id",
    "links",
    "liveNow",
    "panels",
    "preload",
    "refresh",
    "revision",
    "schemaVersion",
    "snapshot",
    "tags",
    "templating",
    "time",
    "timepicker",
    "timezone",
    "title",
    "uid",
    "version",
    "weekStart",
];
const PANEL: [&str; 14] = [
    "datasource",
    "description",
    "fieldConfig",
    "gridPos",
    "id",
    "interval",
    "links",
    "maxDataPoints",
    "options",
    "targets",
    "title",
    "transformations",
    "transparent",
    "type",
];
const ROW: [&str; 6] = ["collapsed", "gridPos", "id", "panels", "title", "type"];
const FIELD: [&str; 10] = [
    "color",
    "custom",
    "decimals",
    "description",
    "displayName",
    "mappings",
    "max",
    "min",
    "thresholds",
    "unit",
];
const TARGET: [&str; 6] = ["datasource", "expr", "instant", "legendFormat", "range", "refId"];
/// Of Grafana's units those that are used here.
const UNITS: [&str; 8] =
    ["short", "s", "d", "bytes", "reqps", "cps", "percentunit", "dateTimeAsIso"];
const COLUMNS: u64 = 24;
const UID_MAX: usize = 40;

pub(super) fn read() -> Value {
    let path = folder().join("grafana/dashboards/connections.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The panels that show something, with the expressions of each.
pub(super) fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard = read();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let shown = panels.filter(|panel| panel["type"] != "row");
    let expressions = |panel: &Value| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
    };
    shown.map(|panel| (panel["title"].as_str().unwrap().to_owned(), expressions(panel))).collect()
}

#[track_caller]
fn check_names(value: &Value, allowed: &[&str]) {
    for name in value.as_object().unwrap().keys() {
        assert!(allowed.contains(&name.as_str()), "{name} is no field of {value}");
    }
}

#[test]
fn the_dashboard_has_the_form_that_grafana_reads() {
    let dashboard = read();
    check_names(&dashboard, &DASHBOARD);
    assert!(
        dashboard["schemaVersion"].as_u64().is_some_and(|version| (36..=42).contains(&version))
    );
    assert!(dashboard["uid"].as_str().is_some_and(|uid| !uid.is_empty() && uid.len() <= UID_MAX));
    assert!(dashboard["title"].is_string() && dashboard.get("id").is_none());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource"]);
    assert_eq!(variables[0]["type"], "datasource");
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id twice: {panel}");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()));
        match panel["type"].as_str().unwrap() {
            "row" => check_names(panel, &ROW),
            "timeseries" | "stat" => check_panel(panel),
            other => panic!("a panel of type {other}"),
        }
    }
}

fn check_panel(panel: &Value) {
    check_names(panel, &PANEL);
    assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    check_names(&panel["fieldConfig"]["defaults"], &FIELD);
    assert!(panel["fieldConfig"]["overrides"].is_array(), "{panel}");
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
    assert!(UNITS.contains(&unit), "{unit}");
    let targets = panel["targets"].as_array().unwrap();
    let mut references = BTreeSet::new();
    assert!(!targets.is_empty(), "{panel}");
    for target in targets {
        check_names(target, &TARGET);
        assert!(references.insert(target["refId"].as_str().unwrap()), "a refId twice: {panel}");
        assert_eq!(target["datasource"]["uid"], "${datasource}");
    }
}

#[test]
fn no_panel_lies_over_another_or_beside_the_screen() {
    let dashboard = read();
    let place =
        |panel: &Value| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
    let places: Vec<[u64; 4]> = dashboard["panels"].as_array().unwrap().iter().map(place).collect();
    for (index, [x, y, w, h]) in places.iter().enumerate() {
        assert!(*w > 0 && *h > 0 && x + w <= COLUMNS, "{:?}", places[index]);
        for [ox, oy, ow, oh] in &places[index + 1..] {
            let is_apart = x + w <= *ox || ox + ow <= *x || y + h <= *oy || oy + oh <= *y;
            assert!(is_apart, "{:?} lies over {:?}", places[index], [ox, oy, ow, oh]);
        }
    }
}
