//! `demo`: one complete OAuth connection through the real Envoy, step by step.

use crate::{
    browser::{Browser, Decision},
    process::wait_for,
    say,
    stack::{Choices, INTEGRATION, Stack, TENANT, WhichDatabase},
    tools::{Preferences, Tools},
    workspace,
};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long any one step may take; each takes milliseconds.
const STEP_WITHIN: Duration = Duration::from_secs(15);

pub async fn run(preferences: &Preferences) -> anyhow::Result<()> {
    let tools = Tools::ready(preferences).await?;
    let started = Instant::now();
    let folder = workspace::sandbox_folder().join("demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let choices = Choices { database: WhichDatabase::Empty, ..Choices::default() };
    let stack = say::timed(
        "starting PostgreSQL, the stand-in Nango, control, Envoy and a client application",
        Stack::start(&tools, &folder, choices),
    )
    .await?;
    let told = tell(&stack).await;
    say::doing("stopping everything");
    stack.stop().await?;
    told.with_context(|| format!("see the logs in {}", folder.display()))?;
    say::line(&format!("\ndone in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

async fn tell(stack: &Stack) -> anyhow::Result<()> {
    let started = start(stack).await?;
    authorize(stack, &started).await?;
    let nango_id = webhook(stack).await?;
    confirmed(stack, &nango_id).await?;
    active(stack, &started).await?;
    notified(stack).await
}

async fn start(stack: &Stack) -> anyhow::Result<Value> {
    let path = format!("/tenants/{TENANT}/connections");
    let body = json!({"sub": "user-1", "provider": INTEGRATION, "scopes": ["repo", "read:user"],
        "metadata": {"plan": "pro"}});
    let answer = stack.http.post(stack.edge(&path)).json(&body).send().await?;
    let status = answer.status();
    let started: Value = answer.json().await?;
    ensure!(status == 201, "the start was answered {status}: {started}");
    let url = text(&started, "/authorizationUrl")?;
    ensure!(url.starts_with(&stack.stand_in()?.provider().url()), "{url} is not the provider's");
    say::step(
        1,
        "started",
        &[
            format!("the application called POST {path} with its certificate, and got {status}"),
            format!("connectionId     {}", text(&started, "/connectionId")?),
            format!("authorizationUrl {url}"),
        ],
    );
    Ok(started)
}

async fn authorize(stack: &Stack, started: &Value) -> anyhow::Result<()> {
    let browser = Browser::new(&stack.pki)?;
    let url = text(started, "/authorizationUrl")?;
    let asked = browser.open(url).await?;
    ensure!(asked.status == 200, "the provider answered {}", asked.status);
    let decided = browser.decide(url, Decision::Allow).await?;
    let callback = decided.next()?;
    say::step(2, "consent", &["the user pressed Allow at the provider".to_owned()]);
    let sent_on = browser.open(callback).await?;
    ensure!(sent_on.status == 308, "the callback was answered {}", sent_on.status);
    let finished = browser.open(sent_on.next()?).await?;
    ensure!(finished.status == 200, "Nango answered {}", finished.status);
    say::step(
        3,
        "callback",
        &[
            format!(
                "the browser came back to {}/oauth/callback and got 308",
                stack.coordinates.public_url
            ),
            "it went on to Nango with the same query, where the code became a token".to_owned(),
        ],
    );
    Ok(())
}

async fn webhook(stack: &Stack) -> anyhow::Result<String> {
    let line = wait_for("no webhook at the edge", STEP_WITHIN, || async {
        let lines = stack.envoy.access_log()?;
        Ok(lines.into_iter().find(|line| line.get("route") == Some(&json!("webhook"))))
    })
    .await?;
    let status = line.get("status").cloned().unwrap_or_default();
    ensure!(status == json!(200), "the webhook was answered {status}: {line}");
    let nango_id = stack.stand_in()?.connection_ids().pop().context("Nango has no connection")?;
    let request_id = text(&line, "/requestId")?;
    say::step(
        4,
        "webhook verified at the edge",
        &[
            format!(
                "Nango's POST /webhooks/nango was held until its HMAC was verified, then answered {status}"
            ),
            format!("in Envoy's log it is request {request_id}"),
        ],
    );
    Ok(nango_id)
}

async fn confirmed(stack: &Stack, nango_id: &str) -> anyhow::Result<()> {
    let mut connection = stack.database.connect().await?;
    let deadline = Instant::now().checked_add(STEP_WITHIN);
    let key: String = loop {
        let query = "SELECT webhook_key FROM receipts WHERE outcome = 'confirmed'";
        if let Some(key) = sqlx::query_scalar(query).fetch_optional(&mut connection).await? {
            break key;
        }
        ensure!(
            deadline.is_some_and(|deadline| Instant::now() < deadline),
            "nothing was confirmed"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    say::step(
        5,
        "confirmed",
        &[
            format!(
                "control took the webhook, verified by key {key:?}, as a hint, and asked Nango itself"
            ),
            format!("Nango lists {nango_id} with our tags, and said who the user is"),
        ],
    );
    Ok(())
}

async fn active(stack: &Stack, started: &Value) -> anyhow::Result<()> {
    let id = text(started, "/connectionId")?;
    let path = format!("/tenants/{TENANT}/connections/{id}");
    let shown: Value = stack.http.get(stack.edge(&path)).send().await?.json().await?;
    ensure!(shown.get("status") == Some(&json!("active")), "it is {shown}");
    say::step(
        6,
        "active",
        &[format!("the application called GET {path}: status {:?}", text(&shown, "/status")?)],
    );
    Ok(())
}

async fn notified(stack: &Stack) -> anyhow::Result<()> {
    let app = stack.app()?;
    let notified = wait_for("no notification", STEP_WITHIN, || async {
        Ok(app.notified().into_iter().next())
    })
    .await?;
    let body = serde_json::to_string_pretty(&notified.body)?;
    let mut seen = vec![
        "the application was told over mTLS, and verified the signature:".to_owned(),
        format!("webhook-id: {}", notified.id),
    ];
    seen.extend(body.lines().map(str::to_owned));
    say::step(7, "notified", &seen);
    Ok(())
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.with_context(|| format!("there is no {pointer} in {value}"))
}
