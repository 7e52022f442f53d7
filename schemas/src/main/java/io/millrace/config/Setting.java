package io.millrace.config;

import java.net.URI;
import java.net.URISyntaxException;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One key of the configuration.
 *
 * @param key dotted path, e.g. {@code routing.local}
 * @param fallback default, as it would be written
 * @param range for people
 * @param doc one line
 * @param parser text to value; throws {@link IllegalArgumentException} with what is wrong
 */
public record Setting<T>(String key, String fallback, String range, String doc, Function<String, T> parser) {
    private static final Pattern NAME = Pattern.compile("[a-z0-9][a-z0-9-]{0,62}");
    private static final Pattern HOST = Pattern.compile("[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?");
    private static final Pattern QUANTITY = Pattern.compile("(\\d+(?:\\.\\d+)?)\\s*([a-zA-Z]*)");

    /** The variable that overrides it, e.g. {@code MILLRACE_ROUTING_LOCAL}. */
    public String variable() {
        return "MILLRACE_" + key.toUpperCase(Locale.ROOT).replace('.', '_').replace('-', '_');
    }

    static Setting<String> text(String key, String fallback, String doc) {
        return new Setting<>(key, fallback, "text", doc, value -> value);
    }

    /** @param form what it must match unless it is the default, such as {@code host:port} */
    static Setting<String> text(String key, String fallback, String form, Pattern pattern, String doc) {
        return new Setting<>(key, fallback, form, doc, value -> {
            if (!value.equals(fallback) && !pattern.matcher(value).matches()) {
                throw new IllegalArgumentException("must be " + form);
            }
            return value;
        });
    }

    /** An address, or none. */
    static Setting<String> url(String key, String doc) {
        return new Setting<>(key, "", "an http or https URL", doc, value -> value.isEmpty() ? value : parseUrl(value));
    }

    /** @param words the default first */
    static Setting<String> word(String key, List<String> words, String doc) {
        String range = String.join(" or ", words);
        return new Setting<>(key, words.getFirst(), range, doc, value -> {
            if (!words.contains(value)) {
                throw new IllegalArgumentException("must be " + range);
            }
            return value;
        });
    }

    static Setting<Integer> integer(String key, int fallback, int min, int max, String doc) {
        return new Setting<>(key, String.valueOf(fallback), min + "–" + max, doc, value -> {
            try {
                return (int) within(Integer.parseInt(value), min, max);
            } catch (NumberFormatException e) {
                throw new IllegalArgumentException("must be a whole number", e);
            }
        });
    }

    static Setting<Double> number(String key, double fallback, double min, double max, String doc) {
        return new Setting<>(key, String.valueOf(fallback), min + "–" + max, doc, value -> {
            try {
                return within(Double.parseDouble(value), min, max);
            } catch (NumberFormatException e) {
                throw new IllegalArgumentException("must be a number", e);
            }
        });
    }

    static Setting<Boolean> flag(String key, boolean fallback, String doc) {
        return new Setting<>(key, String.valueOf(fallback), "true or false", doc, value -> switch (value.strip()) {
            case "true" -> true;
            case "false" -> false;
            default -> throw new IllegalArgumentException("must be true or false");
        });
    }

    static Setting<Duration> duration(String key, String fallback, Duration min, Duration max, String doc) {
        return new Setting<>(key, fallback, written(min) + "–" + written(max), doc, value -> {
            Duration duration = parseDuration(value);
            if (duration.compareTo(min) < 0 || duration.compareTo(max) > 0) {
                throw new IllegalArgumentException("must be " + written(min) + " to " + written(max));
            }
            return duration;
        });
    }

    static Setting<Long> size(String key, String fallback, long min, long max, String doc) {
        return new Setting<>(key, fallback, written(min) + "–" + written(max), doc, value -> {
            long bytes = parseSize(value);
            if (bytes < min || bytes > max) {
                throw new IllegalArgumentException("must be " + written(min) + " to " + written(max));
            }
            return bytes;
        });
    }

    static Setting<List<String>> names(String key, List<String> fallback, String doc) {
        return new Setting<>(
                key,
                String.join(",", fallback),
                "names",
                doc,
                value -> named(Pattern.compile("\\s*,\\s*")
                        .splitAsStream(value.strip())
                        .toList()));
    }

    /** None by default. */
    static Setting<List<String>> hosts(String key, String doc) {
        return new Setting<>(
                key,
                "",
                "host names",
                doc,
                value -> value.isBlank()
                        ? List.of()
                        : Pattern.compile("\\s*,\\s*")
                                .splitAsStream(value.strip())
                                .map(Setting::host)
                                .toList());
    }

    private static String host(String name) {
        if (!HOST.matcher(name).matches()) {
            throw new IllegalArgumentException(
                    "must be host names without scheme and port, such as router.example, and "
                            + (name.isEmpty() ? "one is empty" : name + " is none"));
        }
        return name.toLowerCase(Locale.ROOT);
    }

    private static List<String> named(List<String> names) {
        for (String name : names) {
            if (!NAME.matcher(name).matches()) {
                throw new IllegalArgumentException("must be names of lower-case letters, digits and dashes, and "
                        + (name.isEmpty() ? "one is empty" : name + " is none"));
            }
        }
        if (Set.copyOf(names).size() < names.size()) {
            throw new IllegalArgumentException("must name each once");
        }
        return names;
    }

    static String parseUrl(String value) {
        try {
            URI uri = new URI(value);
            if (uri.getHost() != null && ("http".equals(uri.getScheme()) || "https".equals(uri.getScheme()))) {
                return value;
            }
        } catch (URISyntaxException e) {
            // told below
        }
        throw new IllegalArgumentException("must be an http or https URL");
    }

    /** A duration such as {@code 500ms}, {@code 2s}, {@code 10m}, {@code 1h}. */
    static Duration parseDuration(String value) {
        Matcher matcher = QUANTITY.matcher(value.strip());
        if (matcher.matches()) {
            double amount = Double.parseDouble(matcher.group(1));
            double millis = switch (matcher.group(2)) {
                case "ms" -> amount;
                case "s" -> amount * 1e3;
                case "m" -> amount * 6e4;
                case "h" -> amount * 3.6e6;
                case "d" -> amount * 8.64e7;
                default -> -1;
            };
            if (millis >= 0 && millis < 1e15) {
                return Duration.ofMillis(Math.round(millis));
            }
        }
        throw new IllegalArgumentException("must be a duration such as 500ms, 2s, 10m, 1h or 90d");
    }

    private static long parseSize(String value) {
        Matcher matcher = QUANTITY.matcher(value.strip());
        if (matcher.matches()) {
            double amount = Double.parseDouble(matcher.group(1));
            double bytes = switch (matcher.group(2)) {
                case "", "B" -> amount;
                case "KiB" -> amount * 1024;
                case "MiB" -> amount * 1024 * 1024;
                case "GiB" -> amount * 1024 * 1024 * 1024;
                case "TiB" -> amount * 1024 * 1024 * 1024 * 1024;
                default -> -1;
            };
            if (bytes >= 0 && bytes < 1e15) {
                return (long) bytes;
            }
        }
        throw new IllegalArgumentException("must be a size such as 64KiB or 16MiB");
    }

    private static double within(double value, double min, double max) {
        if (!(value >= min && value <= max)) {
            throw new IllegalArgumentException("must be " + trimmed(min) + " to " + trimmed(max));
        }
        return value;
    }

    private static String trimmed(double value) {
        return value == Math.rint(value) ? String.valueOf((long) value) : String.valueOf(value);
    }

    private static String written(long bytes) {
        int power = (63 - Long.numberOfLeadingZeros(bytes)) / 10;
        return (bytes >> (10 * power)) + " "
                + List.of("B", "KiB", "MiB", "GiB", "TiB").get(power);
    }

    static String written(Duration duration) {
        if (duration.toMillis() % 1000 != 0) {
            return duration.toMillis() + "ms";
        }
        long seconds = duration.toSeconds();
        if (seconds > 0 && seconds % 86_400 == 0) {
            return seconds / 86_400 + "d";
        }
        return seconds % 3600 == 0 ? seconds / 3600 + "h" : seconds % 60 == 0 ? seconds / 60 + "m" : seconds + "s";
    }
}
