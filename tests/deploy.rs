//! The template of `deploy/` against the code that it deploys: each role may do what its function does, and nothing else.
//!
//! A function's calls are read from its example: each operation of an AWS SDK that it sends. Lambda's own use of the function's role
//! follows from the template: it writes the log, sends segments and polls queues.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use syn::{
    Expr, ExprMethodCall, Member,
    visit::{self, Visit},
};
use yaml_rust2::{Yaml, YamlLoader};

/// Operations whose permission has another name. All others are called as their permission.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("sqs:SendMessageBatch", "sqs:SendMessage"),
    ("sqs:DeleteMessageBatch", "sqs:DeleteMessage"),
    ("sns:PublishBatch", "sns:Publish"),
    ("lambda:Invoke", "lambda:InvokeFunction"),
];

/// The permissions that an event source mapping of a queue needs: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>.
const POLLING: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
/// The permissions that Lambda needs to write an existing log group: <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html>.
const LOGGING: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
/// The permissions that active tracing needs: <https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html>.
const TRACING: [&str; 2] = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"];

/// An action, and the resource that it is for.
type Permissions = BTreeSet<(String, String)>;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn template() -> String {
    text("deploy/template.yaml")
}

fn parse(template: &str) -> Yaml {
    YamlLoader::load_from_str(template).expect("YAML").remove(0)
}

fn example(name: &str) -> String {
    text(&format!("examples/{name}.rs"))
}

/// The values of a list, or a single value.
fn values(yaml: &Yaml) -> Vec<&str> {
    match yaml {
        Yaml::Array(values) => values.iter().filter_map(Yaml::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

fn resources<'a>(template: &'a Yaml, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Yaml)> {
    let all = template["Resources"].as_hash().expect("resources");
    let named = all.iter().map(|(name, resource)| (name.as_str().expect("a name"), resource));
    named.filter(move |(_, resource)| resource["Type"].as_str() == Some(kind))
}

/// The operations that a program sends with clients of AWS SDKs: `sqs:SendMessage`.
#[derive(Default)]
struct Operations {
    services: BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Operations {
    fn of(source: &str) -> Vec<String> {
        let mut operations = Self::default();
        operations.visit_file(&syn::parse_file(source).expect("Rust"));
        let services: Vec<&String> = operations.services.iter().collect();
        assert!(services.len() <= 1, "which of {services:?} an operation belongs to is not known: one example, one SDK");
        let named = operations.found.iter().map(|operation| format!("{}:{operation}", services[0]));
        let permission =
            |name: String| OTHER_NAMES.iter().find(|(other, _)| *other == name).map_or(name.clone(), |(_, is)| (*is).into());
        named.map(permission).collect()
    }
}

fn pascal(operation: &str) -> String {
    let words = operation.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
    words.collect()
}

impl<'a> Visit<'a> for Operations {
    fn visit_ident(&mut self, ident: &'a syn::Ident) {
        self.services.extend(ident.to_string().strip_prefix("aws_sdk_").map(str::to_owned));
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        if call.method != "send" || !call.args.is_empty() {
            return;
        }
        // The call that is farthest from `send`, and its receiver: `self.client.send_message()`.
        let (mut first, mut is_connecting) = (call, false);
        while let Expr::MethodCall(inner) = &*first.receiver {
            first = inner;
            is_connecting |= inner.method == "interceptor" && inner.args.iter().any(is_connect_only);
        }
        let is_client = match &*first.receiver {
            Expr::Path(path) => path.path.is_ident("client"),
            Expr::Field(field) => matches!(&field.member, Member::Named(name) if name == "client"),
            _ => false,
        };
        assert!(is_client, "an SDK client is called `client` in the examples, so that their operations are found");
        if !is_connecting {
            self.found.insert(pascal(&first.method.to_string()));
        }
    }
}

fn is_connect_only(argument: &Expr) -> bool {
    matches!(argument, Expr::Path(path) if path.path.segments.last().is_some_and(|name| name.ident == "ConnectOnly"))
}

/// The permissions that a function needs.
fn needed(template: &Yaml, function: &Yaml, code: &dyn Fn(&str) -> String) -> Permissions {
    let properties = &function["Properties"];
    let name = properties["CodeUri"]
        .as_str()
        .and_then(|uri| uri.strip_prefix("../target/deploy/"))
        .expect("an artifact of deploy/build");
    let variable = |name: &str| properties["Environment"]["Variables"][name].as_str();
    let sent = Operations::of(&code(name));
    let sent = sent.into_iter().map(|action| {
        let to = if action.starts_with("sns:") {
            variable("TOPIC_ARN").map(str::to_owned)
        } else {
            variable("QUEUE_URL").map(|queue| format!("{queue}.Arn"))
        };
        (action, to.expect("the queue or the topic that it sends to"))
    });
    let log = format!("{}.Arn", properties["LoggingConfig"]["LogGroup"].as_str().expect("a log group"));
    let mut needed: Permissions = sent.chain(LOGGING.map(|action| (action.to_owned(), log.clone()))).collect();
    if template["Globals"]["Function"]["Tracing"].as_str() == Some("Active") {
        needed.extend(TRACING.map(|action| (action.to_owned(), "*".to_owned())));
    }
    for event in properties["Events"].as_hash().into_iter().flat_map(|events| events.values()) {
        assert_eq!(event["Type"].as_str(), Some("SQS"), "this test knows no other source: {event:?}");
        let queue = event["Properties"]["Queue"].as_str().expect("a queue");
        needed.extend(POLLING.map(|action| (action.to_owned(), queue.to_owned())));
    }
    needed
}

/// The permissions of a role.
fn allowed(role: &Yaml) -> Permissions {
    assert!(role["Properties"]["ManagedPolicyArns"].is_badvalue(), "a managed policy allows more than is needed: {role:?}");
    let policies = role["Properties"]["Policies"].as_vec().expect("policies");
    let statements = policies.iter().flat_map(|policy| policy["PolicyDocument"]["Statement"].as_vec().expect("statements"));
    let of_statement = |statement: &Yaml| {
        assert_eq!(statement["Effect"].as_str(), Some("Allow"));
        let resources: Vec<String> = values(&statement["Resource"]).into_iter().map(str::to_owned).collect();
        let actions: Vec<String> = values(&statement["Action"]).into_iter().map(str::to_owned).collect();
        actions
            .into_iter()
            .flat_map(move |action| resources.clone().into_iter().map(move |of| (action.clone(), of)))
            .collect::<Vec<_>>()
    };
    statements.flat_map(of_statement).collect()
}

/// The missing and the superfluous permissions of the roles.
fn faults(template: &str, code: &dyn Fn(&str) -> String) -> Vec<String> {
    let template = &parse(template);
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (name, function) in resources(template, "AWS::Serverless::Function") {
        let role =
            function["Properties"]["Role"].as_str().and_then(|role| role.strip_suffix(".Arn")).expect("a role of the template");
        used.insert(role.to_owned());
        let (needed, allowed) = (needed(template, function, code), allowed(&template["Resources"][role]));
        faults.extend(needed.difference(&allowed).map(|(action, of)| format!("{name} needs {action} for {of}")));
        faults.extend(allowed.difference(&needed).map(|(action, of)| format!("{name} does not need {action} for {of}")));
    }
    let roles = resources(template, "AWS::IAM::Role").map(|(name, _)| name.to_owned());
    faults.extend(roles.filter(|role| !used.contains(role)).map(|role| format!("no function has the role {role}")));
    faults
}

#[test]
fn each_role_allows_what_its_function_does_and_nothing_else() {
    assert_eq!(faults(&template(), &example), [""; 0]);
    assert!(functions() >= 5);
}

/// How many functions the template has.
fn functions() -> usize {
    resources(&parse(&template()), "AWS::Serverless::Function").count()
}

/// The lines at which a statement of a role begins, and at which it ends.
fn statements(lines: &[&str]) -> Vec<(usize, usize)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_of_role = |place: &usize| lines[*place].starts_with("              - Sid:");
    let end = |begin: usize| {
        let rest = lines[begin + 1..].iter().position(|line| indent(line) <= indent(lines[begin]));
        begin + 1 + rest.unwrap_or(lines.len() - begin - 1)
    };
    (0..lines.len()).filter(is_of_role).map(|begin| (begin, end(begin))).collect()
}

#[test]
fn each_statement_that_is_removed_is_a_fault_and_so_is_one_that_is_added() {
    let template = template();
    let lines: Vec<&str> = template.lines().collect();
    let statements = statements(&lines);
    assert!(statements.len() >= 12, "{statements:?}");
    for (begin, end) in statements {
        let without = [&lines[..begin], &lines[end..]].concat().join("\n");
        assert!(!faults(&without, &example).is_empty(), "without {}", lines[begin]);
        let unused = [
            "              - Sid: Unused",
            "                Effect: Allow",
            "                Action: sqs:PurgeQueue",
            "                Resource: '*'",
        ];
        let with = [&lines[..begin], &unused, &lines[begin..]].concat().join("\n");
        let found = faults(&with, &example);
        assert!(
            !found.is_empty() && found.iter().all(|fault| fault.ends_with("does not need sqs:PurgeQueue for *")),
            "{found:?}"
        );
    }
}

#[test]
fn an_alarm_watches_everything_that_can_go_wrong() {
    let parsed = parse(&template());
    let metric = |alarm: &Yaml| {
        let properties = &alarm["Properties"];
        let of_expression = || properties["Metrics"][1]["MetricStat"]["Metric"]["MetricName"].as_str();
        properties["MetricName"].as_str().or_else(of_expression).expect("a metric").to_owned()
    };
    let watched: BTreeSet<String> = resources(&parsed, "AWS::CloudWatch::Alarm").map(|(_, alarm)| metric(alarm)).collect();
    let wanted = [
        "AfterResponseDuration",
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesVisible",
        "ColdStart",
        "Duration",
        "Errors",
        "Throttles",
    ];
    assert_eq!(watched.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
}

#[test]
fn a_missing_permission_is_a_fault() {
    let with = |from: &str, to: &str| {
        assert!(template().contains(from), "{from}");
        faults(&template().replace(from, to), &example)
    };
    let lost = with("Action: sqs:SendMessage\n", "Action: []\n");
    assert_eq!(lost, ["OrderApi needs sqs:SendMessage for Orders.Arn", "ManagedApi needs sqs:SendMessage for Orders.Arn"]);
    let lost = with("sqs:DeleteMessage, ", "");
    assert_eq!(
        lost,
        ["OrderWorker needs sqs:DeleteMessage for Orders.Arn", "FifoWorker needs sqs:DeleteMessage for Movements.Arn"]
    );
    let other_queue = with("Resource: !GetAtt Movements.Arn", "Resource: !GetAtt Orders.Arn");
    assert_eq!(other_queue.len(), 6, "three are missing, three are superfluous: {other_queue:?}");
    assert_eq!(with("xray:PutTraceSegments, ", "").len(), functions(), "one for each function");
}

#[test]
fn a_superfluous_permission_is_a_fault() {
    let with = |from: &str, to: &str| faults(&template().replace(from, to), &example);
    let more = with("Action: sqs:SendMessage\n", "Action: [sqs:SendMessage, sqs:PurgeQueue]\n");
    assert_eq!(
        more,
        ["OrderApi does not need sqs:PurgeQueue for Orders.Arn", "ManagedApi does not need sqs:PurgeQueue for Orders.Arn"]
    );
    let wildcard = with("Action: sqs:SendMessage\n", "Action: sqs:*\n");
    assert_eq!(wildcard.len(), 4, "{wildcard:?}");
    let untraced = with("    Tracing: Active\n", "");
    assert_eq!(untraced.len(), 2 * functions(), "both actions of each function: {untraced:?}");
}

#[test]
fn an_operation_that_the_code_begins_to_use_is_missing() {
    let more = |name: &str| {
        let calls = "async fn purge(client: aws_sdk_sqs::Client) { client.purge_queue().queue_url(\"\").send().await; }";
        if name == "order_api" { example(name) + calls } else { example(name) }
    };
    let missing = faults(&template(), &more);
    assert_eq!(missing, ["OrderApi needs sqs:PurgeQueue for Orders.Arn", "ManagedApi needs sqs:PurgeQueue for Orders.Arn"]);
    let less = |name: &str| if name == "order_api" { String::new() } else { example(name) };
    assert_eq!(faults(&template(), &less).len(), 2, "nothing is sent any more");
}

#[test]
fn operations_are_found_and_connections_are_not() {
    let source =
        "use aws_sdk_sqs::Client; async fn f(client: Client) { client.send_message_batch().queue_url(url).send().await; }";
    assert_eq!(Operations::of(source), ["sqs:SendMessage"]);
    assert_eq!(Operations::of(&example("order_api")), ["sqs:SendMessage"]);
    assert_eq!(Operations::of(&example("order_worker")), ["sns:Publish"]);
}

#[test]
fn every_statement_says_what_it_is_for() {
    let template = template();
    let lines: Vec<&str> = template.lines().map(str::trim).collect();
    let statements = lines.windows(2).filter(|pair| pair[1].starts_with("- Sid:"));
    let silent: Vec<_> = statements.filter(|pair| !pair[0].starts_with('#') && pair[1] != "- Sid: OnlyOverTls").collect();
    assert!(silent.is_empty(), "without a comment: {silent:?}");
}

#[test]
fn a_queue_hides_a_message_for_six_timeouts_of_its_worker() {
    let template = parse(&template());
    let timeouts = values(&template["Parameters"]["WorkerTimeout"]["AllowedValues"]);
    let mapping = template["Mappings"]["VisibilityTimeout"].as_hash().expect("a mapping");
    let seconds = |timeout: &Yaml| timeout.as_str().and_then(|text| text.parse::<i64>().ok()).expect("seconds");
    assert_eq!(mapping.keys().filter_map(Yaml::as_str).collect::<Vec<_>>(), timeouts);
    assert!(
        mapping.iter().all(|(timeout, visibility)| visibility["Seconds"].as_i64() == Some(6 * seconds(timeout))),
        "{mapping:?}"
    );
}

#[test]
fn the_build_script_builds_what_the_template_deploys() {
    let parsed = parse(&template());
    let deployed: BTreeSet<String> = resources(&parsed, "AWS::Serverless::Function")
        .map(|(_, function)| function["Properties"]["CodeUri"].as_str().expect("a folder").replace("../target/deploy/", ""))
        .collect();
    let script = text("deploy/build");
    let line = script.lines().find_map(|line| line.strip_prefix("functions=(")).expect("a list of functions");
    let built: BTreeSet<String> = line.trim_end_matches(')').split(' ').map(str::to_owned).collect();
    assert_eq!(built, deployed);
}

#[test]
fn only_the_template_lets_others_invoke_and_says_who() {
    let parsed = parse(&template());
    let open: BTreeMap<&str, &Yaml> = resources(&parsed, "AWS::Lambda::Permission")
        .filter(|(_, permission)| permission["Properties"]["SourceArn"].is_badvalue())
        .collect();
    let are_opt_in = open.values().all(|permission| permission["Condition"].as_str() == Some("HasPublicUrl"));
    assert!(open.len() == 2 && are_opt_in, "open to everyone without being asked for: {open:?}");
    let auth = &parsed["Parameters"];
    assert_eq!(
        (auth["FunctionUrlAuth"]["Default"].as_str(), auth["HttpApiAuth"]["Default"].as_str()),
        (Some("AWS_IAM"), Some("AWS_IAM"))
    );
}

#[test]
fn the_pages_name_every_resource_and_every_action() {
    let parsed = parse(&template());
    let page = text("docs/terraform-cdk.md");
    let names: Vec<&str> = parsed["Resources"].as_hash().expect("resources").keys().filter_map(Yaml::as_str).collect();
    // Roles and log groups have the same row.
    let alike = |name: &&str| !name.ends_with("Role") && !name.ends_with("Log");
    let missing: Vec<_> = names.into_iter().filter(alike).filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/terraform-cdk.md does not name {missing:?}");
    let page = text("docs/iam.md");
    let actions = resources(&parsed, "AWS::IAM::Role").flat_map(|(_, role)| allowed(role)).map(|(action, _)| action);
    let missing: BTreeSet<String> = actions.filter(|action| !page.contains(&format!("`{action}`"))).collect();
    assert!(missing.is_empty(), "docs/iam.md does not name {missing:?}");
    let page = text("docs/stack.md");
    let alarms = resources(&parsed, "AWS::CloudWatch::Alarm").count();
    assert!(page.contains(&format!("| {alarms} alarms and one dashboard |")), "docs/stack.md does not count {alarms} alarms");
    let parameters = parsed["Parameters"].as_hash().expect("parameters").keys().filter_map(Yaml::as_str);
    let plain = ["Architecture", "MemorySize", "LogRetentionDays", "MetricsNamespace"];
    let missing: Vec<_> = parameters.filter(|name| !plain.contains(name) && !page.contains(name)).collect();
    assert!(missing.is_empty(), "docs/stack.md does not name {missing:?}");
}
