package io.millrace.standalone;

import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.standalone.Standalone.Knowledge;
import io.millrace.standalone.cli.DataOption;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace up}. */
@Command(
        name = "up",
        description = "Start everything and stay in the foreground until Ctrl-C or millrace down.",
        mixinStandardHelpOptions = true)
public final class UpCommand implements Callable<Integer> {
    private static final String OWN_COLLECTION = "best-practices";
    private static final String KNOWLEDGE_COLLECTION = "codebase-context";

    @Mixin
    private DataOption data = new DataOption();

    @Option(
            names = "--port",
            paramLabel = "PORT",
            description = "Port to listen on; 0 takes a free one. Default: 8092.")
    private @Nullable Integer port;

    @Option(
            names = "--knowledge",
            paramLabel = "DIR[:COLLECTION]",
            description = "Folder of Markdown and text to answer from; repeatable.")
    private List<String> knowledge = new ArrayList<>();

    @Override
    public Integer call() throws InterruptedException {
        List<Knowledge> folders = folders();
        Map<String, String> flags = new HashMap<>();
        if (port != null) {
            flags.put("listen.port", port.toString());
        }
        Loaded loaded = ConfigLoader.load(data.configFile(), System.getenv(), flags);
        Path registry = Path.of(System.getProperty("millrace.registry", "registry"));
        Standalone standalone = Standalone.start(loaded, data.folder(), registry, System.out::println);
        CountDownLatch stopped = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("millrace stops");
            standalone.close();
            stopped.countDown();
        }));
        // the project's own documents first, so that a newcomer can ask about it
        Standalone.ownDocs()
                .ifPresent(docs ->
                        standalone.ingest(new Knowledge("millrace-docs", docs, OWN_COLLECTION), System.out::println));
        folders.forEach(folder -> standalone.ingest(folder, System.out::println));
        System.out.println("millrace ready " + standalone.url());
        stopped.await();
        return 0;
    }

    private List<Knowledge> folders() {
        List<Knowledge> folders = new ArrayList<>();
        for (String each : knowledge) {
            int colon = each.lastIndexOf(':');
            boolean named = colon > 0 && !Files.isDirectory(Path.of(each));
            Path folder = Path.of(named ? each.substring(0, colon) : each)
                    .toAbsolutePath()
                    .normalize();
            if (!Files.isDirectory(folder)) {
                throw new UserException("--knowledge " + each + ": there is no folder " + folder);
            }
            folders.add(new Knowledge(
                    String.valueOf(folder.getFileName()),
                    folder,
                    named ? each.substring(colon + 1) : KNOWLEDGE_COLLECTION));
        }
        return folders;
    }
}
