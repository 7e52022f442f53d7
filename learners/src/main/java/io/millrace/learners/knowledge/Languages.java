package io.millrace.learners.knowledge;

import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** In which language a file is written, by the ending of its name: the {@code language} that searches filter by. Prose has none. */
final class Languages {
    private static final Map<String, String> BY_ENDING = Map.ofEntries(
            Map.entry("bash", "bash"),
            Map.entry("c", "c"),
            Map.entry("cc", "cpp"),
            Map.entry("clj", "clojure"),
            Map.entry("cpp", "cpp"),
            Map.entry("cs", "csharp"),
            Map.entry("css", "css"),
            Map.entry("cxx", "cpp"),
            Map.entry("dart", "dart"),
            Map.entry("el", "elisp"),
            Map.entry("erl", "erlang"),
            Map.entry("ex", "elixir"),
            Map.entry("exs", "elixir"),
            Map.entry("fish", "fish"),
            Map.entry("fs", "fsharp"),
            Map.entry("go", "go"),
            Map.entry("gradle", "groovy"),
            Map.entry("groovy", "groovy"),
            Map.entry("h", "c"),
            Map.entry("hpp", "cpp"),
            Map.entry("hs", "haskell"),
            Map.entry("java", "java"),
            Map.entry("jl", "julia"),
            Map.entry("js", "javascript"),
            Map.entry("json", "json"),
            Map.entry("jsx", "javascript"),
            Map.entry("kt", "kotlin"),
            Map.entry("kts", "kotlin"),
            Map.entry("lua", "lua"),
            Map.entry("ml", "ocaml"),
            Map.entry("nix", "nix"),
            Map.entry("php", "php"),
            Map.entry("pl", "perl"),
            Map.entry("proto", "protobuf"),
            Map.entry("ps1", "powershell"),
            Map.entry("py", "python"),
            Map.entry("r", "r"),
            Map.entry("rb", "ruby"),
            Map.entry("rs", "rust"),
            Map.entry("scala", "scala"),
            Map.entry("sh", "bash"),
            Map.entry("sql", "sql"),
            Map.entry("swift", "swift"),
            Map.entry("tf", "terraform"),
            Map.entry("toml", "toml"),
            Map.entry("ts", "typescript"),
            Map.entry("tsx", "typescript"),
            Map.entry("yaml", "yaml"),
            Map.entry("yml", "yaml"),
            Map.entry("zig", "zig"));

    private Languages() {}

    static Optional<String> of(String path) {
        String name = path.substring(path.lastIndexOf('/') + 1);
        int dot = name.lastIndexOf('.');
        return dot < 0
                ? Optional.empty()
                : Optional.ofNullable(BY_ENDING.get(name.substring(dot + 1).toLowerCase(Locale.ROOT)));
    }
}
