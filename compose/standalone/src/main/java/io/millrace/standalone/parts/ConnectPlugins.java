package io.millrace.standalone.parts;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassModel;
import java.lang.reflect.AccessFlag;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Enumeration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.JarOutputStream;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Connectors of others, made findable. Our worker finds plugins by their service files, as KIP-898 has it, since the other way loads
 * every class of every plugin (1.7 GB and 10 s). Many connectors that are in use have no such files. So the plugin path of the worker
 * is a folder of links to the plugins, and beside a plugin that lacks them a jar that has them, made from the class files' headers. The
 * plugins themselves are not touched.
 */
final class ConnectPlugins {
    private static final Logger LOG = LoggerFactory.getLogger(ConnectPlugins.class);
    private static final String SERVICES = "META-INF/services/";

    /** What a source may name. */
    private static final List<String> SERVICE_NAMES = List.of(
            "org.apache.kafka.connect.source.SourceConnector",
            "org.apache.kafka.connect.storage.Converter",
            "org.apache.kafka.connect.storage.HeaderConverter",
            "org.apache.kafka.connect.transforms.Transformation",
            "org.apache.kafka.connect.transforms.predicates.Predicate",
            "org.apache.kafka.common.config.provider.ConfigProvider");

    private ConnectPlugins() {}

    /** A class by its header. */
    private record Header(List<String> parents, boolean isService) {}

    /** Changes whenever a file of a plugin does. */
    static String stamp(Path folder) {
        if (!Files.isDirectory(folder)) {
            return "";
        }
        try (Stream<Path> files = Files.walk(folder, FileVisitOption.FOLLOW_LINKS)) {
            return files.filter(Files::isRegularFile)
                    .map(file -> file + " " + file.toFile().length() + " "
                            + file.toFile().lastModified())
                    .sorted()
                    .collect(Collectors.joining("\n"));
        } catch (IOException | RuntimeException e) {
            // somebody is changing it: looked at again
            return "unreadable " + e;
        }
    }

    /**
     * Makes the plugin path anew.
     *
     * @param plugins a folder or a jar each
     * @param links is emptied before
     */
    static void link(Path plugins, Path links) throws IOException {
        if (!Files.isDirectory(plugins)) {
            return;
        }
        try (Stream<Path> each = Files.list(plugins)) {
            for (Path plugin : each.sorted().toList()) {
                Map<String, Set<String>> missing = missing(plugin);
                Path link = links.resolve(plugin.getFileName());
                if (missing.isEmpty()) {
                    Files.createSymbolicLink(link, plugin.toRealPath());
                } else {
                    LOG.info(
                            "the connectors in {} have no service files; they are listed for them: {}",
                            plugin,
                            missing);
                    Path folder = Files.createDirectory(links.resolve(plugin.getFileName() + ".listed"));
                    Files.createSymbolicLink(folder.resolve(plugin.getFileName()), plugin.toRealPath());
                    write(folder.resolve("service-files.jar"), missing);
                }
            }
        }
    }

    private static void write(Path file, Map<String, Set<String>> services) throws IOException {
        try (OutputStream out = Files.newOutputStream(file);
                JarOutputStream jar = new JarOutputStream(out)) {
            for (Map.Entry<String, Set<String>> service : services.entrySet()) {
                jar.putNextEntry(new JarEntry(SERVICES + service.getKey()));
                jar.write(String.join("\n", service.getValue()).getBytes(StandardCharsets.UTF_8));
                jar.closeEntry();
            }
        }
    }

    /** Classes of a plugin that no service file of it lists, by service. */
    private static Map<String, Set<String>> missing(Path plugin) {
        Map<String, Header> headers = new HashMap<>();
        Set<String> listed = new HashSet<>();
        for (Path jar : jars(plugin)) {
            try (JarFile open = new JarFile(jar.toFile())) {
                read(open, headers, listed);
            } catch (IOException | IllegalArgumentException e) {
                // the worker says so too, and goes on with the other plugins
                LOG.warn("{} cannot be read: {}", jar, e.toString());
            }
        }
        Map<String, Set<String>> missing = new TreeMap<>();
        headers.forEach((name, header) -> {
            if (header.isService() && !listed.contains(name)) {
                for (String service : SERVICE_NAMES) {
                    if (isA(name, service, headers)) {
                        missing.computeIfAbsent(service, fresh -> new TreeSet<>())
                                .add(name);
                    }
                }
            }
        });
        return missing;
    }

    private static List<Path> jars(Path plugin) {
        try (Stream<Path> files = Files.walk(plugin, FileVisitOption.FOLLOW_LINKS)) {
            return files.filter(file -> file.toString().endsWith(".jar")).toList();
        } catch (IOException | RuntimeException e) {
            LOG.warn("{} cannot be read: {}", plugin, e.toString());
            return List.of();
        }
    }

    private static void read(JarFile jar, Map<String, Header> headers, Set<String> listed) throws IOException {
        Enumeration<JarEntry> entries = jar.entries();
        while (entries.hasMoreElements()) {
            JarEntry entry = entries.nextElement();
            String name = entry.getName();
            if (name.startsWith(SERVICES) && SERVICE_NAMES.contains(name.substring(SERVICES.length()))) {
                try (InputStream in = jar.getInputStream(entry)) {
                    new String(in.readAllBytes(), StandardCharsets.UTF_8)
                            .lines()
                            .map(line -> line.replaceAll("#.*", "").strip())
                            .forEach(listed::add);
                }
            } else if (name.endsWith(".class") && !name.startsWith("META-INF/") && !name.endsWith("-info.class")) {
                try (InputStream in = jar.getInputStream(entry)) {
                    ClassModel model = ClassFile.of().parse(in.readAllBytes());
                    headers.put(binary(model.thisClass().asInternalName()), header(model));
                }
            }
        }
    }

    private static Header header(ClassModel model) {
        List<String> parents = new ArrayList<>();
        model.superclass().ifPresent(parent -> parents.add(binary(parent.asInternalName())));
        model.interfaces().forEach(parent -> parents.add(binary(parent.asInternalName())));
        boolean isService = model.flags().has(AccessFlag.PUBLIC)
                && !model.flags().has(AccessFlag.ABSTRACT)
                && model.methods().stream()
                        .anyMatch(method -> method.methodName().equalsString("<init>")
                                && method.methodType().equalsString("()V")
                                && method.flags().has(AccessFlag.PUBLIC));
        return new Header(List.copyOf(parents), isService);
    }

    private static String binary(String internalName) {
        return internalName.replace('/', '.');
    }

    private static boolean isA(String name, String service, Map<String, Header> headers) {
        Header header = headers.get(name);
        return name.equals(service)
                || (header != null && header.parents().stream().anyMatch(parent -> isA(parent, service, headers)));
    }
}
