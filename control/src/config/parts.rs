//! As much of a configuration as can be read, for whoever looks at what is wrong with it.

use super::{
    CallbackMode, Config, Database, Environment, InvalidConfig, MtlsFiles, NangoConfig, ReadFile,
    read::{
        read_callbacks, read_catalogue, read_database, read_egress, read_log, read_mtls,
        read_nango, read_sealer,
    },
    settings::{RANDOM_TEXT, Settings},
};
use crate::domain::{egress::Egress, provider::Catalogue};
use contract::keys::KeyRing;
use std::collections::BTreeMap;
use url::Url;

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
    /// The admin page of an Envoy of the edge, if the doctor is to ask it.
    pub edge_admin_url: Option<Url>,
    /// Nango's webhook signing key, if the doctor is to try whether the edge has it. The service has no use for it.
    pub webhook_keys: Option<KeyRing>,
    pub callbacks: Option<CallbackMode>,
}

/// Reads what can be read. The problems are those of [`Config::read`], so that none is forgotten here.
pub fn read_parts(environment: &Environment, read_file: ReadFile<'_>) -> Parts {
    let mut problems = match Config::read(environment, read_file) {
        Ok(_config) => BTreeMap::new(),
        Err(InvalidConfig(problems)) => problems,
    };
    // These two are the doctor's alone.
    let mut own = Settings::new(environment, read_file);
    let edge_admin_url =
        if own.has("EDGE_ADMIN_URL") { own.url("EDGE_ADMIN_URL", None) } else { None };
    let webhook_keys = if own.has_secret("NANGO_WEBHOOK_SECRET") {
        own.keys("NANGO_WEBHOOK_SECRET", "Nango's webhook signing key, or id:key,id:key")
    } else {
        None
    };
    if let Err(InvalidConfig(found)) = own.finish(Some(())) {
        problems.extend(found);
    }
    let mut settings = Settings::new(environment, read_file);
    let sealer = read_sealer(&mut settings);
    Parts {
        callbacks: read_callbacks(&mut settings, sealer),
        problems,
        // Lines for machines are what tells production from development.
        is_production: read_log(&mut settings).is_none_or(|log| log.is_json),
        assertion_keys: settings.keys("EDGE_ASSERTION_KEY", RANDOM_TEXT),
        mtls: read_mtls(&mut settings),
        database: read_database(&mut settings),
        nango: read_nango(&mut settings),
        catalogue: read_catalogue(&mut settings, environment),
        egress: read_egress(&mut settings),
        data_keys: settings
            .has_secret("DATA_ENCRYPTION_KEY")
            .then(|| settings.keys("DATA_ENCRYPTION_KEY", RANDOM_TEXT))
            .flatten(),
        edge_admin_url,
        webhook_keys,
    }
}
