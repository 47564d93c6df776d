//! As much of a configuration as can be read, for whoever looks at what is wrong with it.

use super::{
    Config, Database, Environment, InvalidConfig, MtlsFiles, NangoConfig, ReadFile,
    read::{read_catalogue, read_database, read_egress, read_log, read_mtls, read_nango},
    settings::Settings,
};
use crate::domain::{egress::Egress, provider::Catalogue};
use contract::keys::KeyRing;
use std::collections::BTreeMap;

/// The parts that can be looked at by themselves.
#[derive(Debug)]
pub struct Parts {
    /// What a start would be refused for, by the name of the setting.
    pub problems: BTreeMap<String, String>,
    pub is_production: bool,
    pub assertion_keys: Option<KeyRing>,
    pub mtls: Option<MtlsFiles>,
    pub database: Option<Database>,
    pub nango: Option<NangoConfig>,
    pub catalogue: Catalogue,
    pub egress: Option<Egress>,
    pub data_keys: Option<KeyRing>,
}

/// Reads what can be read. The problems are those of [`Config::read`], so that none is forgotten here.
pub fn read_parts(environment: &Environment, read_file: ReadFile<'_>) -> Parts {
    let problems = match Config::read(environment, read_file) {
        Ok(_config) => BTreeMap::new(),
        Err(InvalidConfig(problems)) => problems,
    };
    let mut settings = Settings::new(environment, read_file);
    Parts {
        problems,
        // Lines for machines are what tells production from development.
        is_production: read_log(&mut settings).is_none_or(|log| log.is_json),
        assertion_keys: settings.keys("EDGE_ASSERTION_KEY"),
        mtls: read_mtls(&mut settings),
        database: read_database(&mut settings),
        nango: read_nango(&mut settings),
        catalogue: read_catalogue(&mut settings, environment),
        egress: read_egress(&mut settings),
        data_keys: settings
            .has("DATA_ENCRYPTION_KEY")
            .then(|| settings.keys("DATA_ENCRYPTION_KEY"))
            .flatten(),
    }
}
