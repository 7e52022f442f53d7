package io.millrace.text;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Replaces secrets by {@code [REDACTED:kind]}.
 *
 * <p>The kinds are those of the predecessor (its section 3.10), with key lengths as they are issued today, and those it missed: Slack,
 * Google, Stripe, Hugging Face, any PEM private key, and passwords in connection strings. Names of settings such as
 * {@code max_tokens} are no secrets.
 */
public final class Redactor {
    private record Kind(String name, Pattern pattern, int group) {}

    private static final List<Kind> KINDS = List.of(
            kind(
                    "private_key",
                    "-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----[\\s\\S]{0,16384}?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\\z)"),
            kind("anthropic_key", "\\bsk-ant-[A-Za-z0-9_-]{16,}"),
            // the seed's own example, sk-proj-abcdef123456, has 12 characters after the prefix
            kind("api_key", "\\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{12,}"),
            kind("api_key", "\\bsk-[A-Za-z0-9]{20,}\\b"),
            kind("stripe_key", "\\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}\\b"),
            kind("aws_access_key", "\\b(?:AKIA|ASIA)[0-9A-Z]{16}\\b"),
            value("aws_secret_key", "(?i)aws_secret_access_key[\"']?\\s*[=:]\\s*[\"']?([A-Za-z0-9/+]{40})"),
            kind("github_token", "\\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})\\b"),
            kind("gitlab_token", "\\bglpat-[A-Za-z0-9_-]{20,}"),
            kind("slack_token", "\\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
            kind("google_key", "\\bAIza[0-9A-Za-z_-]{35}"),
            kind("huggingface_token", "\\bhf_[A-Za-z0-9]{30,}\\b"),
            kind("jwt", "\\beyJ[A-Za-z0-9_-]{8,}\\.eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}"),
            value("bearer_token", "(?i)\\bBearer\\s+([A-Za-z0-9._~+/=-]{20,})"),
            value("connection_password", "\\b[a-z][a-z0-9+.-]{1,20}://[^\\s:/@]{1,64}:([^\\s:/@]{3,128})@"),
            value("password", "(?i)\\b(?:password|passwd|pwd)[\"']?\\s*[=:]\\s*[\"']?([^\\s\"',;\\[]{8,128})"));

    private Redactor() {}

    /** The text with every secret replaced; the same object when there is none. */
    public static String redact(String text) {
        String result = text;
        for (Kind kind : KINDS) {
            Matcher matcher = kind.pattern.matcher(result);
            if (!matcher.find()) {
                continue;
            }
            StringBuilder out = new StringBuilder(result.length());
            int end = 0;
            do {
                out.append(result, end, matcher.start(kind.group))
                        .append("[REDACTED:")
                        .append(kind.name)
                        .append(']');
                end = matcher.end(kind.group);
            } while (matcher.find());
            result = out.append(result, end, result.length()).toString();
        }
        return result;
    }

    private static Kind kind(String name, String regex) {
        return new Kind(name, Pattern.compile(regex), 0);
    }

    /** A kind whose first group is the secret and whose rest names it. */
    private static Kind value(String name, String regex) {
        return new Kind(name, Pattern.compile(regex), 1);
    }
}
