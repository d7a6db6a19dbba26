//! The services of a region, and what of them is real.

use cloud::{Cloud, Service};
use wire::{Fidelity, ServiceModel};

use crate::cli::Outcome;

/// Builds the services, in the order of their names. `only` limits them, where it names any.
pub fn services(cloud: &Cloud, only: &[String]) -> Vec<Service> {
    type Build = fn(&Cloud) -> Service;
    let all: [(&str, Build); 15] = [
        ("dynamodb", dynamodb::service),
        ("dynamodbstreams", dynamodbstreams::service),
        ("events", events::service),
        ("firehose", firehose::service),
        ("glue", glue::service),
        ("iam", iam::service),
        ("kinesis", kinesis::service),
        ("lambda", lambda::service),
        ("logs", logs::service),
        ("pipes", pipes::service),
        ("s3", s3::service),
        ("scheduler", scheduler::service),
        ("sns", sns::service),
        ("sqs", sqs::service),
        ("sts", sts::service),
    ];
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o.trim() == name);
    all.into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(_, build)| build(cloud))
        .collect()
}

/// Prints how much of each service, or of each operation of one, is real.
pub fn print_coverage(only: Option<&str>, json: bool) -> Outcome {
    let cloud = Cloud::ephemeral();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let services = services(&cloud, &[]);
    let models: Vec<&ServiceModel> = services.iter().map(|s| s.handler.model()).collect();
    let models: Vec<_> = models
        .into_iter()
        .filter(|m| only.is_none_or(|o| o == m.name))
        .collect();
    if models.is_empty() {
        return Err(format!("there is no service {}", only.unwrap_or_default()).into());
    }
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&models.iter().map(|m| as_json(m)).collect::<Vec<_>>())?
        );
        return Ok(());
    }
    println!(
        "{:<12}{:>6}{:>8}{:>8}",
        "service", "real", "stored", "absent"
    );
    for m in &models {
        let real = m
            .operations
            .iter()
            .filter(|o| o.fidelity == Fidelity::Real)
            .count();
        println!(
            "{:<12}{:>6}{:>8}{:>8}",
            m.name,
            real,
            m.operations.len() - real,
            m.absent.len()
        );
    }
    if only.is_some() {
        for m in models {
            m.operations
                .iter()
                .for_each(|o| println!("  {:<48} {}", o.name, word(o.fidelity)));
            m.absent
                .iter()
                .for_each(|a| println!("  {:<48} absent", a.0));
        }
    }
    Ok(())
}

fn word(fidelity: Fidelity) -> &'static str {
    match fidelity {
        Fidelity::Real => "real",
        Fidelity::Stored => "stored",
    }
}

fn as_json(m: &ServiceModel) -> serde_json::Value {
    let present = m
        .operations
        .iter()
        .map(|o| (o.name.to_owned(), word(o.fidelity).into()));
    let absent = m.absent.iter().map(|a| (a.0.to_owned(), "absent".into()));
    serde_json::json!({ "service": m.name, "operations": present.chain(absent).collect::<serde_json::Map<_, _>>() })
}
