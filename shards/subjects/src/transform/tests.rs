use super::*;

fn applied(source: &str, destination: &str, subject: &str) -> String {
    let transform = Transform::new(source, destination).expect("the transform is sound");
    assert!(transform.is_for(subject.as_bytes()), "{source} is for {subject}");
    let out = transform.applied(subject.as_bytes(), &mut Random::new(1));
    String::from_utf8(out).expect("the pieces are text")
}

#[test]
fn subjects_become_what_the_reference_makes_of_them() {
    for (source, destination, subject, expected) in [
        ("foo", "bar", "foo", "bar"),
        ("foo.*.*", "req.$2.$1", "foo.A.B", "req.B.A"),
        ("foo.*.*", "req.{{wildcard(2)}}.{{ Wildcard ( 1 ) }}", "foo.A.B", "req.B.A"),
        ("baz.>", "mybaz.>", "baz.1.2.3", "mybaz.1.2.3"),
        ("*", "{{splitfromleft(1,1)}}", "12345", "1.2345"),
        ("*", "{{SplitFromRight(1,1)}}", "12345", "1234.5"),
        ("*", "{{SliceFromLeft(1,2)}}", "12345", "12.34.5"),
        ("*", "{{SliceFromLeft(1,3)}}", "123456", "123.456"),
        ("*", "{{slicefromright(1,3)}}", "12345", "12.345"),
        ("*", "{{slicefromright(1,9)}}", "12345", "12345"),
        ("*", "{{left(1,2)}}", "1234", "12"),
        ("*", "{{right(1,3)}}", "1234", "234"),
        ("*", "{{right(1,-3)}}", "1234", "1234"),
        ("*", "{{split(1,-)}}", "-abc-def--ghi-", "abc.def.ghi"),
        ("*", "{{split(1,-)}}", "abc-def--ghi-", "abc.def.ghi"),
        (
            "*.*",
            "{{split(2,-)}}.{{splitfromleft(1,2)}}",
            "foo.-abc-def--ghij-",
            "abc.def.ghij.fo.o",
        ),
        ("foo.*.*", "bar.$2.{{partition(10,1,2)}}.$1", "foo.a.b", "bar.b.6.a"),
        ("*", "b.{{partition(3,1)}}", "foo", "b.0"),
        ("foo.bar", "b.{{partition(5)}}", "foo.bar", "b.1"),
        ("foo", "b.{{random(1)}}", "foo", "b.0"),
        ("foo", "b.{{random(0)}}", "foo", "b.0"),
        ("*.*", "x.{{wildcard(0)}}", "one.two", "x.one"),
        ("", "pre.>", "a.b", "pre.a.b"),
        ("foo", "$JS.API", "foo", "$JS.API"),
    ] {
        assert_eq!(applied(source, destination, subject), expected, "{source} -> {destination}");
    }
}

#[test]
fn the_hash_is_fnv() {
    let hash = |text: &[u8]| partition(text, &[], i32::MAX);
    // 0xe40c292c and 0xbf9cf968: the published values for "a" and "foobar".
    assert_eq!(hash(b"a"), 0xe40c_292c % u64::from(i32::MAX.cast_unsigned()));
    assert_eq!(hash(b"foobar"), 0xbf9c_f968 % u64::from(i32::MAX.cast_unsigned()));
}

#[test]
fn faults_are_told_in_the_references_words() {
    let prefix = "invalid mapping destination: ";
    for (source, destination, expected) in [
        ("foo.*", "foo.*", "invalid subject"),
        ("foo.>", "foo", "invalid subject"),
        ("foo", "foo.>", "invalid subject"),
        ("foo..bar", "foo", "invalid subject"),
        ("foo.*", "foo.$2", "~wildcard index out of range in $2: [2]"),
        ("foo", "foo.$1", "~wildcard index out of range in $1"),
        ("foo.*", "foo.{{unknown(1)}}", "~unknown function in {{unknown(1)}}"),
        (
            "foo.*",
            "{{wildcard()}}",
            "~not enough arguments passed to the function in {{wildcard()}}",
        ),
        (
            "foo.*",
            "{{wildcard(1,2)}}",
            "~too many arguments passed to the function in {{wildcard(1,2)}}",
        ),
        (
            "foo.*",
            "{{wildcard(a)}}",
            "~function argument is invalid or in the wrong format in {{wildcard(a)}}",
        ),
        ("foo.*", "{{split(1)}}", "~not enough arguments passed to the function in {{split(1)}}"),
        ("foo.*", "{{split(1, )}}", ""),
        (
            "foo.*",
            "{{split(1,a b)}}",
            "~function argument is invalid or in the wrong format in {{split(1,a b)}}",
        ),
        (
            "foo.*",
            "{{left(1,3000000000)}}",
            "~function argument is invalid or in the wrong format in {{left(1,3000000000)}}",
        ),
        (
            "foo.*",
            "{{partition(3000000000)}}",
            "~function argument is invalid or in the wrong format in {{partition(3000000000)}}",
        ),
    ] {
        let fault = Transform::new(source, destination).err();
        let text = fault.map(|fault| fault.to_string()).unwrap_or_default();
        let expected = match expected.strip_prefix('~') {
            Some(rest) => format!("{prefix}{rest}"),
            None => expected.to_owned(),
        };
        assert_eq!(text, expected, "{source} -> {destination}");
    }
}

#[test]
fn strict_transforms_have_an_inverse() {
    let strict = |source, destination| Transform::strict(source, destination);
    let fault = strict("foo.*.*", "bar.$1").expect_err("one wildcard is not used");
    assert_eq!(
        fault.to_string(),
        "invalid mapping destination: not using all of the token wildcard(s) in bar.$1"
    );
    let fault = strict("foo.*", "bar.{{left(1,2)}}").expect_err("it has no inverse");
    assert_eq!(
        fault.to_string(),
        "invalid mapping destination: the only mapping function allowed for import transforms is \
         {{Wildcard()}} in {{left(1,2)}}"
    );
    for (source, destination, subject) in [
        ("foo.*.*", "bar.$2.$1", "foo.a.b"),
        ("foo.*.x.*.>", "y.$1.{{wildcard(2)}}.>", "foo.a.x.b.c.d"),
        ("*.*.*", "$2.$3.$1", "a.b.c"),
        ("foo", "bar", "foo"),
        (">", "pre.>", "a.b"),
    ] {
        let transform = strict(source, destination).expect("the transform is sound");
        let there = transform.applied(subject.as_bytes(), &mut Random::new(1));
        let inverse = transform.reversed().expect("it has an inverse");
        assert!(inverse.is_for(&there));
        assert_eq!(inverse.applied(&there, &mut Random::new(1)), subject.as_bytes());
    }
}

#[test]
fn markers_and_wildcards_stand_for_each_other() {
    assert_eq!(tokenized("foo.*.bar.*.>"), "foo.$1.bar.$2.>");
    let (pattern, markers) = untokenized("foo.$2.{{wildcard(1)}}.$x.>");
    assert_eq!(
        (pattern.as_str(), &markers[..]),
        ("foo.*.*.$x.>", &["$2".into(), "{{wildcard(1)}}".into()][..])
    );
}

#[test]
fn mappings_know_fewer_functions() {
    assert_eq!(check_mapping("foo.*", "bar.{{wildcard(1)}}"), Ok(()));
    assert_eq!(check_mapping("foo.*", ""), Ok(()));
    assert!(matches!(
        check_mapping("foo.*", "{{left(1,1)}}"),
        Err(TransformFault::UnknownFunction(_))
    ));
    assert!(matches!(check_mapping("foo.*", "a..b"), Err(TransformFault::Invalid(_))));
    assert!(matches!(check_mapping("foo.*", "a b"), Err(TransformFault::Invalid(_))));
}

#[test]
fn what_does_not_match_is_not_for_it() {
    let transform = Transform::new("foo.*", "bar.$1").expect("the transform is sound");
    assert!(!transform.is_for(b"foo"));
    assert!(!transform.is_for(b"foo.*"));
    assert!(!transform.is_for(b"foo..a"));
    // Applied to what it is not for, it still panics nowhere.
    assert_eq!(transform.applied(b"x", &mut Random::new(1)), b"bar.");
}
