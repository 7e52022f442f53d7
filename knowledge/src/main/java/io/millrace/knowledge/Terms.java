package io.millrace.knowledge;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;

/**
 * Words as the keyword side of every index sees them: lower case, without English stop words, stemmed (Porter), and with the domain's
 * synonyms added to questions at a lower weight.
 *
 * <p>Porter's stemmer and Lucene's stop words were measured against KStem and Snowball: see {@code docs/benchmarks.md}.
 */
public final class Terms {
    /** What a synonym counts beside the word that was asked. More would let a question about models be answered by weights. */
    static final double SYNONYM_WEIGHT = 0.2;

    private static final int SYNONYMS_EACH = 2;
    private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}]+(?:[._-][\\p{L}\\p{N}]++)*+");
    private static final Map<String, List<String>> SYNONYMS = readSynonyms();

    /** Thread-safe: it keeps its buffers per thread. */
    static final Analyzer ANALYZER = new EnglishAnalyzer();

    private Terms() {}

    /** The terms of a text in order, repeats included. */
    static List<String> of(String text) {
        List<String> terms = new ArrayList<>();
        try (TokenStream tokens = ANALYZER.tokenStream("text", text)) {
            CharTermAttribute term = tokens.addAttribute(CharTermAttribute.class);
            tokens.reset();
            while (tokens.incrementToken()) {
                terms.add(term.toString());
            }
            tokens.end();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return terms;
    }

    /** The distinct terms of a question, each with weight 1. */
    static Map<String, Double> plain(String question) {
        Map<String, Double> terms = new LinkedHashMap<>();
        of(question).forEach(term -> terms.put(term, 1.0));
        return terms;
    }

    /**
     * The distinct terms of a question with weight 1, and those of its words' synonyms with a lower one.
     *
     * <p>Whole words only: "nix" in "nixos" is not the word nix.
     */
    static Map<String, Double> expanded(String question) {
        Map<String, Double> terms = plain(question);
        Matcher words = WORD.matcher(question.toLowerCase(Locale.ROOT));
        while (words.find()) {
            for (String synonym : SYNONYMS.getOrDefault(words.group(), List.of())) {
                List<String> added = of(synonym);
                // the words of a phrase share its weight: one alone says less
                added.forEach(term -> terms.putIfAbsent(term, SYNONYM_WEIGHT / added.size()));
            }
        }
        return terms;
    }

    /** The same, with the terms of its rewordings at the weight of synonyms. */
    static Map<String, Double> expanded(String question, List<String> rewordings) {
        Map<String, Double> terms = expanded(question);
        rewordings.forEach(rewording -> of(rewording).forEach(term -> terms.putIfAbsent(term, SYNONYM_WEIGHT)));
        return terms;
    }

    private static Map<String, List<String>> readSynonyms() {
        Map<String, List<String>> synonyms = new LinkedHashMap<>();
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(
                Objects.requireNonNull(Terms.class.getResourceAsStream("synonyms.txt")), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.isBlank() || line.startsWith("#")) {
                    continue;
                }
                String[] parts = line.split(":", 2);
                String word = parts[0].strip().toLowerCase(Locale.ROOT);
                synonyms.put(
                        word,
                        Pattern.compile(",")
                                .splitAsStream(parts[1])
                                .map(String::strip)
                                .limit(SYNONYMS_EACH)
                                .filter(synonym -> !synonym.equalsIgnoreCase(word))
                                .toList());
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return Map.copyOf(synonyms);
    }
}
