"""What these models cannot do, and what the law says of using them: the page and the model card say the same.

Facts about the law are those of Regulation (EU) 2024/1689 (the AI Act) as adopted; none of it is legal advice. It owns the
words, and knows nothing of where they are shown.
"""

INTENDED = (
    "Research on facial expressions, teaching, and as a template for vision systems that are to be reproducible and monitored.",
    "Interfaces that react to an expression which a person shows on purpose and knows to be read, with that person's consent.",
)
NOT_INTENDED = (
    "Judging what people feel, think, intend, or are: an expression is not an emotion, and neither is a diagnosis.",
    "Work, schools, hiring, policing, borders, insurance, credit, or any decision about a person.",
    "Watching people who have not agreed to it.",
)
LIMITS = (
    "An expression's name is what labellers saw. On FER-2013 people agree with its labels in about two of three faces.",
    "Faces unlike those of the training data (age, skin, glasses, angle, light, culture) are read worse."
    " See fairness and robustness.",
    "Age, gender and race are labels of data sets, a few coarse words for how somebody looked to a labeller, not what anyone is.",
    "Confidence is calibrated on validation faces of the same source. Elsewhere it promises nothing until it is measured there.",
)
LAW = (
    "Prohibited since 2 February 2025 (AI Act, Article 5(1)(f)): inferring emotions of people at work and in education, "
    "except for medical or safety reasons.",
    "Prohibited since 2 February 2025 (Article 5(1)(g)): putting individuals into categories by their biometric data to infer "
    "race, political opinions, trade union membership, religion or belief, sex life or sexual orientation. So the head for race "
    "must not be turned on people.",
    "Gender and age do not stand in that list. Inferring them from faces is still biometric categorisation (recital 16 names "
    "sex and age), and where it infers protected attributes it is high risk (Annex III, point 1(b)). So is emotion recognition "
    "that is not prohibited (point 1(c)). Providers and deployers then have the duties of Chapter III.",
    "The prohibition of Article 5(1)(g) does not cover labelling or filtering of lawfully acquired biometric data sets. The "
    "heads for age, gender and race exist for that: to measure fairness on labelled data.",
    "People who are exposed to emotion recognition or biometric categorisation must be told (Article 50(3)), and their data are "
    "personal data under the GDPR; what reveals racial origin or health falls under its Article 9.",
    "Dates of the Regulation as adopted in 2024: the prohibitions apply since 2 February 2025, Article 50 and the duties for "
    "Annex III from 2 August 2026. Amendments move such dates (one of 2026 was to move Annex III to 2 December 2027): check "
    "which text is in force where and when you deploy.",
    "This is no legal advice, and the law of other places differs.",
)
DRAWN = "These faces are drawn by code. Figures on them test the factory; they say nothing about people."
