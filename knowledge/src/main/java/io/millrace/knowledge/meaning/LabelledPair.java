package io.millrace.knowledge.meaning;

/**
 * Two questions and whether they mean the same.
 *
 * @param group pairs of one group share questions, directly or through others, and are never parted between training and measuring
 */
public record LabelledPair(QuestionPair questions, boolean same, int group) {}
