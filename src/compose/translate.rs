//! STUB
use super::types::*;
use crate::sensitive::Sensitive;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
/// STUB
pub struct Request<'a> {
    /// s
    pub service: &'a Service,
    /// s
    pub project: &'a Project,
    /// s
    pub number: u32,
    /// s
    pub parents: &'a BTreeMap<String, String>,
    /// s
    pub image_id: &'a str,
    /// s
    pub api: (u32, u32),
    /// s
    pub replaces: Option<&'a str>,
    /// s
    pub inherited: &'a [crate::observed::Mount],
}
/// s
pub struct Bound {
    /// s
    pub body: Sensitive<Map<String, Value>>,
}
/// s
pub fn bind(_: &Request<'_>) -> Result<Bound, String> {
    Err("stub".into())
}
/// s
pub fn network_body(_: &Project, _: &Network) -> Result<Map<String, Value>, String> {
    Err("stub".into())
}
/// s
pub fn volume_body(_: &Project, _: &Volume) -> Result<Map<String, Value>, String> {
    Err("stub".into())
}
/// s
pub fn endpoint_config(
    _: &Project,
    _: &Service,
    _: &str,
    _: u32,
) -> Result<Map<String, Value>, String> {
    Err("stub".into())
}
