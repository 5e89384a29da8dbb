//! The routes of each door.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::command::{Command, IncidentWord, Progress, Reporter, Request, Version, Wanted};
use super::problem::Problem;
use super::{PROTOCOL, Shared};
use crate::api::status::{EventView, List, Status};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::store::EventQuery;

/// Room for a digest of each part of a large project.
const BODY_LIMIT: usize = 1024 * 1024;
/// Above the long poll, below what clients wait for.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
const LONG_POLL: Duration = Duration::from_secs(25);
const HEARTBEAT: Duration = Duration::from_secs(5);
const MOST_SERVICES: usize = 10_000;
const EVENTS: u32 = 100;

/// Who asks, on the control socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
}

/// Reads only.
pub(super) fn reads(shared: Shared) -> Router {
    finish(read_routes().with_state(shared))
}

/// Reads and writes.
pub(super) fn control(shared: Shared) -> Router {
    let routes = read_routes()
        .route("/api/v1/stacks/{name}/apply", post(apply))
        .route("/api/v1/stacks/{name}/plan", post(plan_now))
        .route("/api/v1/stacks/{name}/reconcile", post(reconcile))
        .route("/api/v1/stacks/{name}/pause", post(pause))
        .route("/api/v1/stacks/{name}/resume", post(resume))
        .route("/api/v1/incidents/{id}", post(incident))
        .with_state(shared);
    finish(routes)
}

/// Metrics and liveness.
pub(super) fn metrics_only(metrics: Arc<Metrics>) -> Router {
    let expose = move || std::future::ready(exposition(&metrics));
    finish(Router::new().route("/healthz", get("ok\n")).route("/metrics", get(expose)))
}

fn read_routes() -> Router<Shared> {
    Router::new()
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(|State(s): State<Shared>| async move { exposition(&s.metrics) }))
        .route("/api/v1/version", get(version))
        .route("/api/v1/status", get(status))
        .route("/api/v1/stacks", get(stacks))
        .route("/api/v1/stacks/{name}", get(stack))
        .route("/api/v1/services", get(services))
        .route("/api/v1/networks", get(networks))
        .route("/api/v1/volumes", get(volumes))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/plan", get(plan))
        .route("/api/v1/events", get(events))
}

fn finish(routes: Router) -> Router {
    routes
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method isn't served here")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(bounded))
}

/// Deadline, size and the headers that every answer carries.
async fn bounded(request: HttpRequest, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let mut response = if announced.is_some_and(|length| length > BODY_LIMIT) {
        let detail = format!("a body has at most {BODY_LIMIT} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
    } else {
        tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await.unwrap_or_else(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
        })
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn exposition(metrics: &Metrics) -> Response {
    match metrics.expose() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = shared.status.borrow().readiness();
    match readiness {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn version(State(shared): State<Shared>) -> Json<Version> {
    Json(Version {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        protocol: PROTOCOL,
        pid: std::process::id(),
        holder: shared.holder,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only this project's.
    project: Option<String>,
    /// Only this stack's (plans).
    stack: Option<String>,
    /// Answer only once the status is newer than this, or after 25 s.
    after: Option<u64>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    query.map(|Query(q)| q).map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()))
}

/// The status, waiting for a newer one when the caller asks for it. A version that this daemon
/// never reached (it was restarted) doesn't wait.
async fn fresh(shared: &Shared, after: Option<u64>) -> Arc<Status> {
    let mut reader = shared.status.clone();
    if let Some(after) = after {
        let newer = reader.wait_for(|s| s.resource_version != after);
        let _ = tokio::time::timeout(LONG_POLL, newer).await;
    }
    Arc::clone(&reader.borrow_and_update())
}

async fn list<T: Clone + Serialize>(
    shared: &Shared,
    query: Asked<ListQuery>,
    pick: impl Fn(&Status) -> &[T],
    keep: impl Fn(&T, &ListQuery) -> bool,
) -> Result<Response, Problem> {
    let query = asked(query)?;
    let status = fresh(shared, query.after).await;
    let items: Vec<T> = pick(&status).iter().filter(|i| keep(i, &query)).cloned().collect();
    Ok(Json(List { resource_version: status.resource_version, items }).into_response())
}

fn of(wanted: Option<&String>, present: &str) -> bool {
    wanted.is_none_or(|w| w == present)
}

async fn status(
    State(shared): State<Shared>,
    query: Asked<ListQuery>,
) -> Result<Response, Problem> {
    let status = fresh(&shared, asked(query)?.after).await;
    Ok(Json(&*status).into_response())
}

async fn stacks(
    State(shared): State<Shared>,
    query: Asked<ListQuery>,
) -> Result<Response, Problem> {
    list(
        &shared,
        query,
        |s| &s.stacks,
        |i, q| of(q.project.as_ref(), &i.project) && of(q.stack.as_ref(), &i.name),
    )
    .await
}

async fn services(
    State(shared): State<Shared>,
    query: Asked<ListQuery>,
) -> Result<Response, Problem> {
    list(&shared, query, |s| &s.services, |i, q| of(q.project.as_ref(), &i.project)).await
}

async fn networks(
    State(shared): State<Shared>,
    query: Asked<ListQuery>,
) -> Result<Response, Problem> {
    list(&shared, query, |s| &s.networks, |i, q| of(q.project.as_ref(), &i.project)).await
}

async fn volumes(
    State(shared): State<Shared>,
    query: Asked<ListQuery>,
) -> Result<Response, Problem> {
    list(&shared, query, |s| &s.volumes, |i, q| of(q.project.as_ref(), &i.project)).await
}

async fn incidents(
    State(shared): State<Shared>,
    query: Asked<ListQuery>,
) -> Result<Response, Problem> {
    list(&shared, query, |s| &s.incidents, |i, q| of(q.project.as_ref(), &i.project)).await
}

async fn incident(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|e| Problem::new(e.status(), e.body_text()))?;
    let word: IncidentWord = serde_json::from_slice(&body).map_err(|e| {
        let detail = format!("the body doesn't say what is wanted: {e}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let status = Arc::clone(&shared.status.borrow());
    let known = status.incidents.iter().find(|i| i.id == id && i.ended_at.is_none());
    let known = known.ok_or_else(|| no_incident(&status))?;
    let stack = status.stacks.iter().find(|stack| stack.project == known.project);
    let stack = stack.ok_or_else(|| no_stack(&status))?;
    let id = known.id.clone();
    send(&shared, caller, &stack.name, |stack| Command::Incident { stack, id, word })
}

/// Names what there is, and doesn't echo what was asked for.
fn no_incident(status: &Status) -> Problem {
    let open = status.incidents.iter().filter(|i| i.ended_at.is_none());
    let ids: Vec<String> =
        open.map(|i| format!("{} ({} {}/{})", i.id, i.project, i.service, i.slot)).collect();
    let detail = match ids.as_slice() {
        [] => "no open incident of this ID: none is open".into(),
        ids => format!("no open incident of this ID; open are: {}", ids.join(", ")),
    };
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn plan(State(shared): State<Shared>, query: Asked<ListQuery>) -> Result<Response, Problem> {
    list(&shared, query, |s| &s.plans, |i, q| of(q.stack.as_ref(), &i.stack)).await
}

async fn stack(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let status = Arc::clone(&shared.status.borrow());
    let stack = status.stack(&name).ok_or_else(|| no_stack(&status))?;
    Ok(Json(stack).into_response())
}

/// Names what there is, and doesn't echo what was asked for.
fn no_stack(status: &Status) -> Problem {
    let names: Vec<_> = status.stacks.iter().map(|s| s.name.as_str()).collect();
    let detail = match names.as_slice() {
        [] => "no stack of this name: the daemon has loaded none".into(),
        names => format!("no stack of this name; there are: {}", names.join(", ")),
    };
    Problem::new(StatusCode::NOT_FOUND, detail)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    project: Option<String>,
    since: Option<i64>,
    limit: Option<u32>,
}

/// `resourceVersion` is the last position: pass it as `since`.
async fn events(
    State(shared): State<Shared>,
    query: Asked<EventsQuery>,
) -> Result<Response, Problem> {
    let query = asked(query)?;
    let query = EventQuery {
        project: query.project,
        since: query.since,
        limit: query.limit.unwrap_or(EVENTS),
    };
    let asked_since = query.since.unwrap_or(0);
    let records = shared
        .store
        .events(query)
        .await
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    let items: Vec<EventView> = records.into_iter().map(EventView::from).collect();
    let last = items.last().map_or(asked_since, |e| e.seq);
    let resource_version = u64::try_from(last).unwrap_or(0);
    Ok(Json(List { resource_version, items }).into_response())
}

async fn apply(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(stack): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let wanted = wanted(body)?;
    send(&shared, caller, &stack, |stack| Command::Apply { stack, wanted })
}

async fn plan_now(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(stack): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let wanted = wanted(body)?;
    send(&shared, caller, &stack, |stack| Command::Plan { stack, wanted })
}

async fn pause(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(stack): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let wanted = wanted(body)?;
    send(&shared, caller, &stack, |stack| Command::Pause { stack, wanted })
}

async fn resume(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(stack): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let wanted = wanted(body)?;
    send(&shared, caller, &stack, |stack| Command::Resume { stack, wanted })
}

fn wanted(body: Result<Bytes, BytesRejection>) -> Result<Wanted, Problem> {
    let body = body.map_err(|e| Problem::new(e.status(), e.body_text()))?;
    if body.is_empty() {
        return Ok(Wanted::default());
    }
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|e| {
        let detail = format!("the body doesn't say what is wanted: {e}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    if wanted.services.len() > MOST_SERVICES {
        let detail = format!("at most {MOST_SERVICES} services");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    Ok(wanted)
}

async fn reconcile(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(stack): Path<String>,
) -> Result<Response, Problem> {
    send(&shared, caller, &stack, |stack| Command::Reconcile { stack })
}

fn send(
    shared: &Shared,
    caller: Caller,
    stack: &str,
    command: impl FnOnce(String) -> Command,
) -> Result<Response, Problem> {
    let status = Arc::clone(&shared.status.borrow());
    let known = status.stack(stack).ok_or_else(|| no_stack(&status))?;
    let (progress, lines) = Reporter::new();
    let request = Request { command: command(known.name.clone()), uid: caller.uid, progress };
    shared.commands.try_send(request).map_err(|error| {
        let detail = match error {
            mpsc::error::TrySendError::Full(_) => "the daemon is busy; try again in a moment",
            mpsc::error::TrySendError::Closed(_) => "the daemon is stopping",
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(ndjson(lines))).into_response())
}

/// One JSON object a line; an empty line when nothing happened for five seconds, so that both
/// sides notice when the other is gone.
fn ndjson(
    lines: mpsc::Receiver<Progress>,
) -> impl futures_util::Stream<Item = Result<Vec<u8>, serde_json::Error>> {
    stream::unfold(lines, |mut lines| async move {
        let line = match tokio::time::timeout(HEARTBEAT, lines.recv()).await {
            Ok(Some(progress)) => serde_json::to_vec(&progress),
            Ok(None) => return None,
            Err(_) => Ok(Vec::new()),
        };
        let line = line.map(|mut line| {
            line.push(b'\n');
            line
        });
        Some((line, lines))
    })
}
