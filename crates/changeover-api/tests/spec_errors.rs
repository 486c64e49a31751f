//! Each kind of mistake in a spec: the place that the error points at, what it says, and what it advises.
//!
//! `§` marks the place; it is taken out before the text is read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

use std::path::Path;

use changeover_api::spec::{Spec, SpecErrors};

const HEAD: &str = "format = 1\nname = \"bookings\"\n";
const STORES: &str = "[store.legacy]\nurl = \"sqlite:old.db\"\n[store.flights]\nurl = \"sqlite:new.db\"\n";
const TABLE: &str =
    "[[table]]\nold = \"legacy:bookings\"\nnew = \"flights:booking\"\nkey = { id = \"booking_id\" }\n";

fn errors(text: &str) -> SpecErrors {
    match Spec::parse(Path::new("bookings.toml"), text) {
        Ok(_) => panic!("this was taken:\n{text}"),
        Err(errors) => errors,
    }
}

/// Reads the text without its marks, and compares the one error with what is expected.
fn expect(text: &str, message: &str, hint: &str) {
    let at = text.find('§').unwrap_or_else(|| panic!("no mark in {text}"));
    let clean = text.replace('§', "");
    let line = text[..at].matches('\n').count() + 1;
    let column = text[..at].rsplit('\n').next().unwrap().chars().count() + 1;
    let errors = errors(&clean);
    assert_eq!(errors.errors.len(), 1, "{errors}\n{clean}");
    let error = &errors.errors[0];
    assert!(error.message.contains(message), "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error}");
    assert_eq!((error.line, error.column), (line, column), "{error}\n{clean}");
    assert_eq!(error.span.start, at, "{error}");
    assert_eq!(error.file, Path::new("bookings.toml"));
}

/// The mistake is at the top of an otherwise right spec.
fn at_top(top: &str, message: &str, hint: &str) {
    expect(&format!("{HEAD}{top}\n{STORES}{TABLE}"), message, hint);
}

/// The mistake is in a table of its own, after two right stores.
fn in_table(table: &str, message: &str, hint: &str) {
    expect(&format!("{HEAD}{STORES}{TABLE}{table}"), message, hint);
}

/// The mistake is after everything else.
fn at_end(end: &str, message: &str, hint: &str) {
    expect(&format!("{HEAD}{STORES}{TABLE}{end}"), message, hint);
}

#[test]
fn names_that_are_not_known() {
    at_top("§miror = \"capture\"", "a spec has no `miror`", "Did you mean `mirror`?");
    at_top("§hold-budget = \"2s\"", "a spec has no `hold-budget`", "Did you mean `hold_budget`?");
    at_top("§colour = 1", "a spec has no `colour`", "There is `format`, `name`");
    at_top("§url = \"sqlite:x\"", "a spec has no `url`", "into a store: [store.NAME]");
    at_end("[gate]\n§ack = \"both\"", "`gate` has no `ack`", "at the top of the file");
    at_end("[gate]\n§misatch = { max = \"1 %\", over = 1 }", "`gate` has no `misatch`", "`mismatch`?");
    at_end("[gate]\nmismatch = { max = \"1 %\", over = 1, §for = 2 }", "`gate.mismatch` has no `for`", "");
    at_end("[[§tabel]]\nold = \"a:b\"", "a spec has no `tabel`", "Did you mean `table`?");
    at_end("[backfill]\n§speed = 4", "`backfill` has no `speed`", "`rate`, `chunk`");
    in_table("§wher = \"x = 1\"", "`table[0]` has no `wher`", "Did you mean `where`?");
    in_table("set = { x = { §konst = 1 } }", "`table[0].set.x` has no `konst`", "Did you mean `const`?");
    in_table("rules = [{ column = \"x\", §ignored = true }]", "has no `ignored`", "Did you mean `ignore`?");
}

#[test]
fn values_of_the_wrong_type() {
    at_top("mirror = \"dual-write\"\nack = §7", "`ack` should be one of \"both\"", "");
    at_top("hold_budget = §2", "should be a length of time, as in \"500ms\"", "");
    at_top("patience = §\"2 minutes\"", "and is \"2 minutes\"", "");
    at_top("forget_after = §\"0s\"", "`forget_after` is no time at all", "");
    at_top("phases = §\"old\"", "`phases` should be an array", "");
    at_end("[gate]\nmismatch = §\"0.01 %\"", "should be a table, as in { max = ", "");
    at_end("[gate]\nmismatch = { max = §0.01, over = 5 }", "should be a percentage from 0 to 100", "");
    at_end("[gate]\nmismatch = { max = §\"110 %\", over = 5 }", "and is \"110 %\"", "");
    at_end("[gate]\ncalls = { slower_by = §0 }", "should be a number greater than 0", "p99");
    at_end("[gate]\ncalls = { §slower = 2 }", "`gate.calls` has no `slower`", "slower_by");
    at_end("[gate]\nmismatch = { max = \"1 %\", over = §-5 }", "should be a whole number of at least 1", "");
    at_end("[gate]\nbake = { shadow = §7 }", "`gate.bake.shadow` should be a length of time", "");
    at_end("[backfill]\nrate = §\"fast\"", "should be a number of rows for each second", "");
    at_end("[backfill]\nrate = §0", "should be a number of rows for each second", "");
    at_end("[backfill]\nchunk = §1024", "should be a size, as in \"256 KiB\"", "");
    at_end("[capture]\nway_back = §\"30d\"", "should be a table, as in { time = \"30d\"", "");
    at_end("[evidence]\nredact = [\"a\", §7]", "`evidence.redact[1]` should be a column", "");
    in_table("where = §true", "`table[0].where` should be a condition in SQL", "");
    in_table("where = §\"\"", "`table[0].where` is empty", "Give a condition in SQL");
    in_table("set = { x = §7 }", "`table[0].set.x` should be SQL over the other side's row, or {", "");
    in_table("set = { x = { const = §true } }", "should be a text, an integer", "as the database has it");
    in_table("set = { x = { const = §99999999999999999999 } }", "an integer of 64 bits", "");
    in_table("rules = [{ column = \"x\", tolerance = §\"1\" }]", "should be a number greater than 0", "");
    expect(
        "format = §\"1\"\nname = \"x\"\nmirror = \"dual-write\"",
        "`format` should be an integer",
        "format = 1",
    );
}

#[test]
fn what_must_be_there_and_is_not() {
    expect("§name = \"x\"\nmirror = \"dual-write\"", "`format` is missing", "Write `format = 1` at the top");
    expect("§format = 1\nmirror = \"dual-write\"", "`name` is missing", "name = \"bookings\"");
    expect(&format!("§{HEAD}{STORES}"), "moves tables, and there is none", "Add a [[table]]");
    let without = |field: &str| {
        let mut table = TABLE.replace("[[table]]", "§[[table]]");
        let from = table.find(field).unwrap();
        let to = from + table[from..].find('\n').unwrap() + 1;
        table.replace_range(from..to, "");
        format!("{HEAD}{STORES}{table}")
    };
    expect(&without("old ="), "`old` is missing in `table[0]`", "\"legacy:bookings\"");
    expect(&without("new ="), "`new` is missing in `table[0]`", "\"flights:public.booking\"");
    expect(&without("key ="), "`key` is missing in `table[0]`", "key = { old_column = \"new_column\" }");
    at_end("[gate]\nmismatch = §{ max = \"1 %\" }", "`over` is missing", "how many comparisons");
    in_table("rules = [§{ ignore = true }]", "`column` is missing", "as the new side calls it");
    in_table("rules = [§{ column = \"x\" }]", "doesn't say what may differ", "round = \"ms\"");
    in_table("set = { x = §{} }", "`const` is missing", "{ const = \"eu\" }");
}

#[test]
fn phases_that_are_none_or_out_of_order() {
    at_top("phases = [\"old\", §\"shadows\", \"new\"]", "there is no phase \"shadows\"", "mean \"shadow\"?");
    at_top("phases = [\"old\", §\"reverse_shadow\", \"new\"]", "no phase", "mean \"reverse-shadow\"?");
    at_top("phases = [\"old\", \"new\", §\"retired\"]", "`retired` isn't listed", "Remove it");
    at_top("phases = [\"old\", §\"old\", \"new\"]", "stands here twice", "Remove one");
    let hint = "\"old\", \"shadow\", \"reverse-shadow\", \"new\"";
    at_top("phases = §[\"old\", \"reverse-shadow\", \"shadow\", \"new\"]", "out of order", hint);
    at_top("phases = §[\"shadow\", \"new\"]", "begin with \"old\" and end with \"new\"", hint);
    at_top("phases = §[]", "begin with \"old\" and end with \"new\"", hint);
    at_end("[gate]\nbake = { §shadwo = \"1d\" }", "no phase \"shadwo\"", "mean \"shadow\"?");
    at_end(
        "[gate]\nbake = { §old = \"1d\" }",
        "`old` has no bake time",
        "`shadow`, `reverse-shadow` or `new`",
    );
    let simple = format!("{HEAD}phases = [\"old\", \"new\"]\n{STORES}{TABLE}[gate]\n");
    expect(&format!("{simple}bake = {{ §shadow = \"1h\" }}"), "which `phases` leaves out", "add the phase");
    expect(
        &format!("{simple}§mismatch = {{ max = \"1 %\", over = 1 }}"),
        "nothing is compared",
        "add \"shadow\"",
    );
}

#[test]
fn choices_that_are_none() {
    at_top("mirror = §\"captur\"", "`mirror` can't be \"captur\"", "Did you mean \"capture\"?");
    at_top("mirror = §\"cdc\"", "`mirror` can't be \"cdc\"", "It is one of \"capture\", \"dual-write\"");
    at_top("on_silence = §\"fense\"", "`on_silence` can't be \"fense\"", "Did you mean \"fence\"?");
    in_table("rules = [{ column = \"x\", round = §\"hour\" }]", "can't be \"hour\"", "\"s\", \"ms\", \"us\"");
    in_table("rules = [{ column = \"x\", ignore = §false }]", "a rule that says nothing", "Remove the rule");
    in_table("rules = [§{ column = \"x\", ignore = true, round = \"s\" }]", "more than one kind", "for each");
    expect("format = §2\nname = \"x\"\nmirror = \"dual-write\"", "format 2 isn't known", "a newer version");
    for name in ["\"\"", "\"a b\"", "\"../x\"", "\"-x\"", "\"é\""] {
        expect(&format!("format = 1\nname = §{name}\nmirror = \"dual-write\""), "", "");
    }
}

#[test]
fn stores_and_their_urls() {
    let store = |entry: &str, message: &str, hint: &str| {
        let stores = format!("[store.legacy]\nurl = \"sqlite:old.db\"\n[store.flights]\n{entry}\n");
        expect(&format!("{HEAD}{stores}{TABLE}"), message, hint);
    };
    store("url = §\"oracle://db/x\"", "isn't a store that can be opened", "this build knows sqlite:PATH");
    store("url = §\"new.db\"", "has no scheme", "Did you mean \"sqlite:new.db\"?");
    store("url = §\"sqlite::memory:\"", "lives in memory", "Give a file");
    store("url_env = §\"MY-URL\"", "isn't the name of an environment variable", "the variable's name alone");
    store("§urll = \"sqlite:new.db\"", "has no `urll`", "Did you mean `url`?");
    let text = format!("{HEAD}{STORES}{TABLE}");
    let nowhere = text.replace("[store.flights]\nurl = \"sqlite:new.db\"", "§[store.flights]");
    expect(&nowhere, "says nowhere what the store's URL is", "`url_env = \"VARIABLE\"`");
    let twice = text.replace("[store.flights]\n", "§[store.flights]\nurl_env = \"X\"\n");
    expect(&twice, "more than one way", "Keep one");
    let named =
        text.replace("[store.flights]", "[store.§\"my flights\"]").replace("flights:b", "my flights:b");
    expect(&named, "can't be called \"my flights\"", "Letters, digits");
    at_end("[store.§spare]\nurl = \"sqlite:s.db\"", "no table is in store `spare`", "Remove the store");
}

#[test]
fn a_password_in_clear_is_told_and_not_shown() {
    for url in ["postgres://app:s3cret@db/x", "host=db password=s3cret", "postgres://db/x?password=s3cret"] {
        let text = format!("{HEAD}mirror = \"dual-write\"\n[store.legacy]\nurl = \"{url}\"\n");
        let errors = errors(&text);
        assert!(errors.errors[0].message.contains("has a password in clear"), "{errors}");
        assert!(errors.errors[0].hint.as_deref().unwrap().contains("`url_env`"), "{errors}");
        assert_eq!((errors.errors[0].line, errors.errors[0].column), (5, 7));
        assert!(!format!("{errors} {errors:?}").contains("s3cret"), "{errors:?}");
        assert_eq!(errors.text.len(), text.len(), "everything else stays where it is");
    }
    // An escape in the text makes the places differ: all of the value is hidden.
    let errors = errors(&format!("{HEAD}[store.legacy]\nurl = \"postgres://\\u0061:s3cret@db/x\"\n"));
    assert!(!format!("{errors:?}").contains("s3cret"), "{errors:?}");
    // Nor is it shown around a mistake that keeps the file from being read at all.
    let errors = self::errors("[store.legacy\nurl = \"postgres://app:s3cret@db/x\"\n");
    assert!(!format!("{errors:?}").contains("s3cret"), "{errors:?}");
}

#[test]
fn tables_and_what_they_refer_to() {
    let table = |text: &str, message: &str, hint: &str| {
        expect(&format!("{HEAD}{STORES}[[table]]\n{text}\n{TABLE}"), message, hint);
    };
    let rest = "new = \"flights:x\"\nkey = { id = \"id\" }";
    table(&format!("old = §\"legasy:x\"\n{rest}"), "there is no store `legasy`", "Did you mean \"legacy\"?");
    table(&format!("old = §\"billing:x\"\n{rest}"), "there is no store `billing`", "[store.billing]");
    table(&format!("old = §\"bookings\"\n{rest}"), "isn't a table in a store", "\"store:table\"");
    table(&format!("old = §\"legacy:a.b.c\"\n{rest}"), "isn't a table in a store", "in double quotes");
    let same = "old = \"legacy:x\"\nnew = §\"legacy:x\"\nkey = { id = \"id\" }";
    table(same, "`table[0]` has the same table on both sides", "that the rows move to");
    let copies =
        "[[table]]\nold = \"legacy:other\"\nname = §\"bookings\"\nnew = \"flights:o\"\nkey = { id = \"id\" }";
    at_end(copies, "two mappings are called `bookings`: the other is in line 7", "a `name` of its own");
    let merged =
        "[[table]]\nold = \"legacy:other\"\nnew = §\"flights:booking\"\nkey = { id = \"booking_id\" }";
    at_end(merged, "no constant tells their rows apart", "{ const = \"eu\" }");
    let routed =
        "route_by = \"customer\"\n§[[table]]\nold = \"legacy:o\"\nnew = \"flights:o\"\nkey = { id = \"id\" }";
    at_end(routed, "`o` has no `route_by`, and `bookings` has one", "one value");
}

#[test]
fn keys_and_columns() {
    let key = |key: &str, message: &str, hint: &str| {
        let table = TABLE.replace("{ id = \"booking_id\" }", key);
        expect(&format!("{HEAD}{STORES}{table}"), message, hint);
    };
    key("{ id = §\"lower(id)\" }", "\"lower(id)\" isn't a column's name", "no expressions");
    key("{ §\"a || b\" = \"id\" }", "\"a || b\" isn't a column's name", "no expressions");
    key("§{}", "`table[0].key` is empty", "Name at least one column");
    key("§[\"id\"]", "`table[0].key` should be a table from old columns to new ones", "");
    key("{ id = §7 }", "should be the new side's column, or { const", "");
    key("{ a = \"id\", b = §\"id\" }", "has the new side's column `id` twice", "one counterpart");
    in_table("set = { §booking_id = \"x\" }", "the key's column `booking_id` is in `set` too", "remove it");
    in_table("back = { §id = \"x\" }", "the key's column `id` is in `back` too", "remove it");
    in_table("keys = §\"apllication\"", "can't be \"apllication\"", "Did you mean \"application\"?");
    in_table("route_by = §\"lower(x)\"", "isn't a column's name", "one column");
}

#[test]
fn settings_that_contradict_each_other() {
    at_top("§ack = \"both\"", "this migration's mirror is capture", "mirror = \"dual-write\"");
    at_top("on_silence = §\"fence\"", "and SQLite doesn't", "Remove it");
    at_top("mirror = \"dual-write\"\non_silence = §\"fence\"", "needs mirror = \"capture\"", "Remove it");
    at_top("hold_lease = §\"3s\"", "`hold_lease` (3s) should be shorter than `hold_budget` (2s)", "must fit");
    at_top("hold_budget = §\"400ms\"", "`hold_lease` (500ms) should be shorter", "must fit");
    at_end("[evidence]\nredact = [§\"booking.email\"]", "no mapping `booking`", "Did you mean \"bookings\"?");
}

#[test]
fn text_that_is_not_toml() {
    let errors = errors("format = 1\nname = \"bookings\nmirror = \"capture\"\n");
    assert!(errors.errors[0].message.starts_with("this isn't TOML: "), "{errors}");
    assert_eq!(errors.errors[0].line, 2);
    let errors = self::errors("format = 1\nformat = 1\nname = \"x\"\n");
    assert_eq!(errors.errors[0].line, 2, "{errors}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "format = 1\nname = \"x y\"\nmiror = \"capture\"\nhold_budget = 2\n\
                [store.legacy]\nurl = \"old.db\"\n[[table]]\nold = \"legacy:a\"\nkey = { id = \"f(x)\" }\n\
                [gate]\nbake = { shadwo = \"7\" }\n";
    let lines: Vec<_> = errors(text).errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 3, 4, 6, 7, 9, 11, 11]);
}

#[test]
fn a_file_that_is_missing_or_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    let errors = Spec::read(&path).unwrap_err();
    assert!(errors.to_string().contains("there is no such file"), "{errors}");
    assert!(errors.to_string().contains("changeover init"), "{errors}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Spec::read(&path).unwrap_err().to_string().contains("UTF-8"));
    assert!(Spec::read(folder.path()).is_err());
}
